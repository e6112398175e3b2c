"""Execute the chapters that are not remembered yet, two at a time: ``python -m book.tools.execute ROOT CACHE``.

Jupyter Book executes one chapter after the other; here two run side by side, with one thread each.
"""

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from nbclient.exceptions import DeadKernelError
from sphinx_external_toc.parsing import parse_toc_yaml

WORKERS = 2  # each holds its data and models in memory


def unknown_chapters(root: Path, folder: Path) -> list[Path]:
    """Notebooks of the table of contents that a cache does not hold, the last first."""
    cache = get_cache(str(folder))
    files = [root / f"{document}.ipynb" for document in parse_toc_yaml(root / "book" / "_toc.yml")]
    found = []
    for file in filter(Path.is_file, files):
        try:
            cache.match_cache_notebook(nbformat.read(file, as_version=4))
        except KeyError:
            found.append(file)
    return found[::-1]


def execute(root: Path, folder: Path, workers: int = WORKERS) -> Iterator[tuple[Path, float | None]]:
    """Execute the unknown chapters and remember those that run through.

    Args:
        root: the checkout.
        folder: of the execution cache.
        workers: chapters at a time.

    Yields:
        Each notebook, as soon as it has run, with its seconds. One that fails has none and is not remembered: Jupyter
        Book meets it again and says what is wrong with it.
    """
    timeout = yaml.safe_load((root / "_config.yml").read_text("utf-8"))["execute"].get("timeout", 30)
    cache = get_cache(str(folder))
    with ThreadPoolExecutor(workers) as pool:
        waiting = {
            pool.submit(single_nb_execution, nbformat.read(file, as_version=4), str(file.parent), timeout, False): file
            for file in unknown_chapters(root, folder)
        }
        for future in as_completed(waiting):
            seconds = None
            with contextlib.suppress(DeadKernelError):
                result = future.result()
                if result.err is None:
                    seconds = result.time
                    bundle = CacheBundleIn(result.nb, str(waiting[future]), data={"execution_seconds": seconds})
                    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            yield waiting[future], seconds


if __name__ == "__main__":
    checkout, remembered = map(Path, sys.argv[1:])
    for notebook, time in execute(checkout, remembered):
        print(f"{notebook.name}: {'failed' if time is None else f'{time:.0f} s'}", flush=True)
