"""What the book has measured: verdicts on the articles' claims, and results of experiments too long for a chapter.

A chapter calls `record_claim` when it has tested a claim, and `load` to show a long experiment beside its own
smaller run; `python -m book.experiments run NAME` makes the experiment's file.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from llmrec_lite.assets import cache_dir
from llmrec_lite.claims import CLAIMS
from llmrec_lite.errors import SettingError
from llmrec_lite.files import write_json

VERDICTS = {"holds": "holds", "partly": "holds in part", "fails": "does not hold", "open": "open"}


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


def results_dir() -> Path:
    """Return the folder of committed results: $LLMREC_RESULTS, else `book/results` here or in a folder above."""
    if named := os.environ.get("LLMREC_RESULTS"):
        return Path(named)
    here = Path.cwd()
    return next((f / "book" / "results" for f in (here, *here.parents) if (f / "book" / "results").is_dir()), here)


def record_claim(
    claim: str,
    chapter: str,
    verdict: Literal["holds", "partly", "fails", "open"],
    measured: str,
    evidence: dict[str, float] | None = None,
) -> Claim:
    """Record the verdict of a chapter on a claim, for the ledger at the end of the book, and return it to be shown.

    Args:
        claim: a key of `CLAIMS`, such as "C01".
        chapter: name of the notebook, such as "03_collaborative_filtering".
        verdict: "holds", "partly", "fails" or "open" (a later chapter goes on with it).
        measured: the result in a sentence, with its numbers.
        evidence: the numbers behind it by name.
    """
    if claim not in CLAIMS:
        raise SettingError(f"there is no claim {claim!r}; there are {', '.join(CLAIMS)}")
    if verdict not in VERDICTS:
        raise SettingError(f"verdict must be one of {sorted(VERDICTS)}, not {verdict!r}")
    if not re.fullmatch(r"\d\d_\w+", chapter):
        raise SettingError(f"chapter must be a notebook's name such as '02_cosine_similarity', not {chapter!r}")
    numbers = {name: float(value) for name, value in (evidence or {}).items()}
    record = Claim(claim, chapter, verdict, measured, numbers)
    write_json(records_dir() / f"{claim}-{chapter}.json", asdict(record))
    return record


def ledger(folder: Path | None = None) -> dict[str, list[Claim]]:
    """Recorded verdicts on each claim, in the order of the chapters; the last one settles it."""
    found: dict[str, list[Claim]] = {claim: [] for claim in CLAIMS}
    for path in sorted((folder or records_dir()).glob("C*.json")):
        try:
            record = Claim(**json.loads(path.read_text(encoding="utf8")))
            found[record.claim].append(record)
        except (ValueError, TypeError, KeyError) as error:
            raise SettingError(f"{path} is no record of a claim ({error}); delete it and build again") from error
    return {claim: sorted(records, key=lambda record: record.chapter) for claim, records in found.items()}


def load(name: str, part: str | None = None, folder: Path | None = None) -> Any:
    """Return a committed result: the whole record, or one part of it as a DataFrame.

    Raises:
        FileNotFoundError: the experiment has never been run; the message names the command.
        SettingError: the file is damaged, or holds another result, or has no such part.
    """
    path = (folder or results_dir()) / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"no result {path}; make it with: python -m book.experiments run {name}")
    try:
        record = json.loads(path.read_text(encoding="utf8"))
        parts, found = record["result"], record.get("name", name)
        if found != name:
            raise ValueError(f"it holds the result {found!r}")
        if part is not None and part not in parts:
            raise ValueError(f"it has no part {part!r}, but {', '.join(parts)}")
        return record if part is None else pd.DataFrame(parts[part])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingError(
            f"{path} is not the result {name} ({error}); make it anew with: python -m book.experiments run {name}"
        ) from error
