"""The numbers of README and cover are those of the stored results."""

import re

import pytest

from book.tools.code import ROOT
from llmrec_lite import results

ROWS = {
    "denoising linear autoencoder": "autoencoder",
    "ALS": "ALS",
    "autoencoder with sessions and facts": "autoencoder with sessions and facts",
    "LLMA without its language model": "without the language model",
    "LLMA, the fusion": "LLMA",
}


@pytest.fixture(scope="module")
def known():
    return results.load("llma_known", "table", ROOT / "book" / "results")


def test_the_table_of_the_readme_is_the_stored_result(known):
    lines = (ROOT / "README.md").read_text("utf8").splitlines()
    for words, model in ROWS.items():
        (line,) = [line for line in lines if line.startswith(f"| {words}")]
        numbers = [float(number) for number in re.findall(r"\.\d+", line)]
        of_model = known[known["model"] == model].set_index("seed")
        benchmark = of_model.loc[42, ["ndcg", "low", "high"]].tolist()
        assert numbers[:3] == pytest.approx(benchmark, abs=6e-4), words
        assert numbers[3] == pytest.approx(of_model["ndcg"].mean(), abs=6e-5), words
        assert numbers[0] == pytest.approx(benchmark[0], abs=6e-5), words


def count(table, model, rival):
    """Return how often the model is significantly ahead of the rival, behind it, and neither."""
    rows = table[table["model"] == model]
    low, high = rows[f"low over {rival}"], rows[f"high over {rival}"]
    return int((low > 0).sum()), int((high < 0).sum()), int(((low <= 0) & (high >= 0)).sum())


def test_what_the_readme_says_of_the_splits_is_so(known):
    assert count(known, "LLMA", "autoencoder with sessions and facts") == (3, 0, 2)
    assert count(known, "without the language model", "LLMA") == (0, 0, 5)


def test_the_cover_names_the_means_of_the_stored_result(known):
    (paragraph,) = [p for p in (ROOT / "book" / "index.md").read_text("utf8").split("\n\n") if "nDCG@10" in p]
    means = known.groupby("model")["ndcg"].mean()
    wanted = [means[m] for m in ("LLMA", "ALS", "autoencoder with sessions and facts", "without the language model")]
    assert [float(n) for n in re.findall(r"\.\d{4}", paragraph)] == pytest.approx(wanted, abs=6e-5)
