"""The reviews of women's clothing: text to read, with a rating and a recommendation to check against."""

from __future__ import annotations

import numpy as np
import pandas as pd

from llmrec_lite import assets
from llmrec_lite.errors import SettingError
from llmrec_lite.text import normalize_text

_COLUMNS = {
    "Clothing ID": "item_id",
    "Age": "age",
    "Title": "title",
    "Review Text": "text",
    "Rating": "rating",
    "Recommended IND": "recommended",
    "Positive Feedback Count": "votes",
    "Division Name": "division",
    "Department Name": "department",
    "Class Name": "category",
}


def load_reviews() -> pd.DataFrame:
    """Load the reviews that have a text, each text once, in the order of the file.

    Of 23,486 rows 845 have no text and 7 repeat one. The words are those of real customers of a shop whose
    name was replaced by "retailer" (Agarap, "Statistical Analysis on E-Commerce Reviews", 2018).

    Returns:
        22,634 rows with columns review_id (the row of the file), item_id, age (years), title ("" where
        missing), text, rating (1 to 5), recommended (bool), votes (readers who found it helpful), division,
        department and category ("" where missing).
    """
    file = next(assets.locate("womens-clothing").glob("*.parquet.brotli"))
    table = pd.read_parquet(file).rename(columns=_COLUMNS)[list(_COLUMNS.values())]
    table.insert(0, "review_id", np.arange(len(table)))
    words = ["title", "text", "division", "department", "category"]
    table[words] = table[words].fillna("").map(normalize_text)
    table["recommended"] = table["recommended"].astype(bool)
    return table[table["text"] != ""].drop_duplicates("text").reset_index(drop=True)


def split_texts(texts: pd.Series, seed: int, held_out: float = 0.1) -> tuple[list[str], list[str], list[str]]:
    """Deal texts out at random into train, validation and test, each of the latter two a share `held_out`."""
    n = round(len(texts) * held_out)
    if not 0 < n < len(texts) / 2:
        raise SettingError(f"held_out={held_out!r} of {len(texts)} texts leaves a part empty; take a share such as 0.1")
    shuffled = texts.iloc[np.random.default_rng(seed).permutation(len(texts))].tolist()
    return shuffled[2 * n :], shuffled[n : 2 * n], shuffled[:n]
