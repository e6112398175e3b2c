"""What the book has measured: verdicts on the articles' claims, and experiments too long for a chapter.

    python -m llmrec_lite.results list
    python -m llmrec_lite.results run NAME      writes book/results/NAME.json, with provenance
    python -m llmrec_lite.results run --all     runs them all; one that cannot be run is named at the end

A chapter calls `record_claim` when it has tested a claim, and `load` to show a long experiment beside its own
smaller run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from llmrec_lite.assets import cache_dir

CLAIMS = {
    "C01": "Language-model features beat classic content features such as TF-IDF.",
    "C02": "Collaborative filtering degrades with sparsity; language-model features do not.",
    "C03": "A language model recommends new items, without any interaction, from their text alone.",
    "C04": "A language model serves new users from a request in words alone.",
    "C05": "A pre-trained model that is fine-tuned beats the same model trained from scratch.",
    "C06": "Fine-tuning overfits when data are scarce, and augmentation helps.",
    "C07": "Parameter-efficient tuning comes close to full fine-tuning at a fraction of the parameters.",
    "C08": "Meta-learning adapts to a new user better than joint training plus fine-tuning.",
    "C09": "Meta-learning reduces the data a new task needs.",
    "C10": "MAML and Reptile both converge quickly on new tasks.",
    "C11": "Distillation keeps most of the quality at less cost.",
    "C12": "Multi-task training helps each of its tasks.",
    "C13": "The meta-knowledge correction improves the dot-product score.",
    "C14": "Attention over the behavior sequence improves on its mean.",
    "C15": "Fusion with a knowledge graph improves accuracy, in the long tail most.",
    "C16": "Fusing a language model and collaborative filtering is more accurate than either.",
    "C17": "Fusion improves diversity.",
    "C18": "Incremental updates keep up with drift at a fraction of the cost of retraining.",
    "C19": "The system stays stable and good in the long run under its own feedback.",
    "C20": "Language models classify the satisfaction in reviews well.",
    "C21": "Generated, personalized text is faithful to the item.",
    "C22": "Explanations can be faithful, quality fair across groups, and private training cheap.",
    "C23": "Recommendations can be served in real time.",
}
VERDICTS = {"holds": "holds", "partly": "holds in part", "fails": "does not hold", "open": "not settled yet"}
RESULTS_DIR = Path(__file__).resolve().parents[1] / "book" / "results"


@dataclass(frozen=True)
class Claim:
    """A claim of the articles after its test; shown as a box in a notebook."""

    claim: str
    chapter: str
    verdict: Literal["holds", "partly", "fails", "open"]
    measured: str
    evidence: dict[str, float] = field(default_factory=dict)

    def _repr_markdown_(self) -> str:
        return f"**{self.claim}. {CLAIMS[self.claim]}** Verdict: *{VERDICTS[self.verdict]}*. {self.measured}"


def records_dir() -> Path:
    """Return the folder of recorded claims: $LLMREC_RECORDS, else a folder of the user's cache."""
    return Path(os.environ.get("LLMREC_RECORDS") or cache_dir() / "records")


def record_claim(
    claim: str,
    chapter: str,
    verdict: Literal["holds", "partly", "fails", "open"],
    measured: str,
    evidence: dict[str, float] | None = None,
) -> Claim:
    """Record what a chapter found about a claim, for the ledger at the end of the book, and return it to be shown.

    Args:
        claim: "C01" to "C23".
        chapter: name of the notebook, such as "03_collaborative_filtering".
        verdict: "holds", "partly", "fails" or "open" (a later chapter goes on with it).
        measured: what was measured, in a sentence, with its numbers.
        evidence: the numbers behind it by name.

    Raises:
        ValueError: no such claim, verdict or form of chapter name.
    """
    if claim not in CLAIMS:
        raise ValueError(f"there is no claim {claim!r}; they run from C01 to C23")
    if verdict not in VERDICTS:
        raise ValueError(f"verdict must be one of {sorted(VERDICTS)}, not {verdict!r}")
    if not re.fullmatch(r"\d\d_\w+", chapter):
        raise ValueError(f"chapter must be a notebook's name such as '02_cosine_similarity', not {chapter!r}")
    numbers = {name: float(value) for name, value in (evidence or {}).items()}
    record = Claim(claim, chapter, verdict, measured, numbers)
    _write_json(records_dir() / f"{claim}-{chapter}.json", asdict(record))
    return record


def ledger(folder: Path | None = None) -> dict[str, list[Claim]]:
    """Return what chapters have recorded about each claim, in the order of the chapters; the last one settles it.

    Args:
        folder: of the records; `records_dir()` where None.

    Raises:
        ValueError: a file is no record of a claim; it is named.
    """
    found: dict[str, list[Claim]] = {claim: [] for claim in CLAIMS}
    for path in sorted((folder or records_dir()).glob("C*.json")):
        try:
            record = Claim(**json.loads(path.read_text(encoding="utf8")))
            found[record.claim].append(record)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is no record of a claim ({error}); delete it and build the book again") from error
    return {claim: sorted(records, key=lambda record: record.chapter) for claim, records in found.items()}


EXPERIMENTS: dict[str, Callable[[], dict[str, Any]]] = {}


def experiment(function: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Register a function as an experiment under its own name."""
    EXPERIMENTS[function.__name__] = function
    return function


def provenance() -> dict[str, Any]:
    """Say where and with what a result was computed, without naming the machine or its user."""
    packages = ("llmrec-lite", "numpy", "scipy", "pandas", "scikit-learn", "torch", "transformers", "tokenizers")
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _register_experiments() -> None:
    import llmrec_lite.experiments
    import llmrec_lite.fusion_experiments
    import llmrec_lite.fusion_known_experiments
    import llmrec_lite.knowledge.experiments
    import llmrec_lite.knowledge.fact_experiments
    import llmrec_lite.knowledge.graph_experiments
    import llmrec_lite.language.experiments
    import llmrec_lite.language.film_experiments
    import llmrec_lite.language.gpu_experiments
    import llmrec_lite.language.text_experiments
    import llmrec_lite.language.tuning_experiments
    import llmrec_lite.llma_experiments
    import llmrec_lite.llma_newcomer_experiments
    import llmrec_lite.meta.cold_experiments
    import llmrec_lite.meta.distill_experiments
    import llmrec_lite.meta.experiments
    import llmrec_lite.meta.interview_experiments
    import llmrec_lite.meta.multitask_experiments
    import llmrec_lite.meta.newcomer_experiments  # noqa: F401  # they import torch, so only when asked for


def run(name: str, folder: Path | None = None) -> Path:
    """Run an experiment and write its result with provenance; return the file.

    Raises:
        ValueError: no such experiment.
    """
    _register_experiments()
    if name not in EXPERIMENTS:
        raise ValueError(f"there is no experiment {name!r}; known: {', '.join(sorted(EXPERIMENTS))}")
    start = time.perf_counter()
    result = EXPERIMENTS[name]()
    about = (EXPERIMENTS[name].__doc__ or "").strip()
    seconds = round(time.perf_counter() - start)
    target = (folder or RESULTS_DIR) / f"{name}.json"
    _write_json(target, {"name": name, "about": about, "seconds": seconds, **provenance(), "result": result})
    return target


def load(name: str, part: str | None = None, folder: Path | None = None) -> Any:
    """Return a committed result: the whole record, or one part of it as a DataFrame.

    Raises:
        FileNotFoundError: the experiment has never been run; the message names the command.
    """
    path = (folder or RESULTS_DIR) / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"no result {path}; make it with: python -m llmrec_lite.results run {name}")
    record = json.loads(path.read_text(encoding="utf8"))
    return record if part is None else pd.DataFrame(record["result"][part])


def _plain(value: object) -> object:
    """Return what JSON knows for a number or an array of numpy: it must not lose a run of half an hour."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} is not JSON serializable")


def _write_json(target: Path, content: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n"  # fails before there is a file
    with tempfile.NamedTemporaryFile("w", dir=target.parent, suffix=".tmp", delete=False, encoding="utf8") as file:
        file.write(text)
    os.chmod(file.name, 0o644)  # a temporary file is private; a result is not
    os.replace(file.name, target)


def main(arguments: list[str] | None = None) -> int:
    """Run experiments from the command line."""
    parser = argparse.ArgumentParser(prog="python -m llmrec_lite.results", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="name the experiments")
    run_verb = verbs.add_parser("run", help="run experiments")
    run_verb.add_argument("names", nargs="*", metavar="NAME")
    run_verb.add_argument("--all", action="store_true", help="run every experiment")
    options = parser.parse_args(arguments)
    _register_experiments()
    if options.verb == "list":
        for name, function in sorted(EXPERIMENTS.items()):
            print(f"{name:16} {(function.__doc__ or '').strip().splitlines()[0]}")
        return 0
    if bool(options.names) == options.all:
        parser.error("name the experiments to run, or --all")
    failed = []
    for name in sorted(EXPERIMENTS) if options.all else options.names:
        try:
            print(run(name), flush=True)
        except Exception as error:  # the others are not to be lost for one, such as one that needs a graphics card
            if not options.all and not isinstance(error, ValueError):
                raise
            print(f"{name}: {error}" if options.all else error, file=sys.stderr)
            failed.append(name)
            if not options.all:
                break
    if failed and options.all:
        print(f"not run: {', '.join(failed)}", file=sys.stderr)
    return 2 if failed else 0


if __name__ == "__main__":
    # Run the one copy that experiments register with, not this second one called __main__.
    from llmrec_lite import results

    sys.exit(results.main())
