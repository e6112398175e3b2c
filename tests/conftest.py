"""What several test modules share: the real data once a session, and a small made-up crowd."""

import os
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from llmrec_lite import Dataset, load_movielens

# The same examples on every machine, however slow it is.
settings.register_profile("llmrec", deadline=None, derandomize=True)
settings.load_profile("llmrec")

# The same numbers on every machine: device="auto" is the CPU, in child processes too, except in tests for CUDA.
os.environ.setdefault("LLMREC_DEVICE", "cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        import torch

        if not torch.cuda.is_available():
            for item in gpu:
                item.add_marker(pytest.mark.skip(reason="needs CUDA, and torch finds none here"))


@pytest.fixture(autouse=True)
def _device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("gpu"):
        monkeypatch.delenv("LLMREC_DEVICE")


@pytest.fixture
def book_style() -> Iterator[None]:
    """The style of the book's figures, without a window, and no figure left open."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from llmrec_lite import plots

    with mpl.rc_context({"backend": "agg"}):
        plots.use_style()
        yield
    plt.close("all")


@pytest.fixture(scope="session")
def movielens() -> Dataset:
    return load_movielens()


@pytest.fixture(scope="session")
def crowd() -> Dataset:
    """60 users, 30 items (the last one unrated), a long tail, ratings from 1 to 5, times with ties."""
    rng = np.random.default_rng(7)
    share = 1 / np.arange(1, 30)
    rows = [
        (f"u{user}", int(item) * 10, int(rng.integers(1, 6)), int(rng.integers(1000)) // 10)
        for user in range(60)
        for item in rng.choice(29, size=rng.integers(4, 12), replace=False, p=share / share.sum())
    ]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    items = pd.DataFrame({"item_id": np.arange(30) * 10, "title": [f"Film {i}" for i in range(30)]})
    return Dataset.from_frames(log.sample(frac=1, random_state=0), items)


@pytest.fixture(scope="session")
def club() -> Dataset:
    """12 readers and 9 books with string ids; "ghost" has read nothing, nobody has read "dusty"."""
    rng = np.random.default_rng(5)
    books = ["emma", "dune", "ulysses", "faust", "hamlet", "ivanhoe", "kim", "candide"]
    rows = [
        (f"reader{r}", str(book), float(rng.integers(1, 6)), int(rng.integers(10**6)))
        for r in range(11)
        for book in rng.permutation(books)[: 1 if r == 0 else rng.integers(2, 7)]
    ]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    genres = ["Love", "Space", "Sea", "Devil|Love", "Death", "Love|War", "War", "Travel", "Travel|Sea"]
    shelf = pd.DataFrame({"item_id": ["dusty", *books], "genres": genres})
    shelf["title"], shelf["year"] = shelf["item_id"].str.title(), 1900
    people = pd.DataFrame({"user_id": ["ghost", *(f"reader{r}" for r in range(11))]})
    return Dataset.from_frames(log, shelf, people)


@pytest.fixture(scope="session")
def history_of() -> Callable[[Dataset, int], list[tuple]]:
    """What a user of a data set has done, in order of time, as `score_new` takes it."""

    def history(data: Dataset, user: int) -> list[tuple]:
        rows = data.interactions.iloc[data.time_order]
        own = rows[rows["user_id"] == data.users["user_id"].iloc[user]]
        return list(own[["item_id", "rating", "timestamp"]].itertuples(index=False, name=None))

    return history


# ---- a world for LLMA: four kinds of people and items ----

KINDS = ["space", "love", "war", "music"]


class KindEncoder:
    """Reads the four words of this world: a text is which of them it has, and a little of its own."""

    def encode(self, texts):
        rows = np.zeros((len(texts), 8), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:4] = [kind in text.lower() for kind in KINDS]
            row[4 + sum(map(ord, text)) % 4] = 0.2
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="session")
def reads_kinds():
    return KindEncoder


@pytest.fixture(scope="session")
def small():
    """Settings for a small world."""
    from llmrec_lite.llma import LLMAConfig

    return LLMAConfig(
        factors=8, factors_l2=1.0, alpha=4.0, autoencoder_l2=5.0, text_l2=0.1, fact_weight=1.0, user_exponent=0.0
    )


@pytest.fixture(scope="session")
def world() -> Dataset:
    """120 people, each of whom likes one of four kinds, 84 items of which the last four are new."""
    rng = np.random.default_rng(5)
    rows = []
    quality = rng.permutation(np.linspace(1, 4, 20))
    for user in range(120):
        kind = user % 4
        likely = np.full(80, 0.3)
        likely[kind * 20 : kind * 20 + 20] = 6 * quality
        some = rng.choice(80, 30, replace=False, p=likely / likely.sum())
        rows += [(f"u{user}", int(item), 5.0 if item // 20 == kind else 2.0, t) for t, item in enumerate(some)]
    kind_of = [*np.repeat(KINDS, 20), *KINDS]
    items = pd.DataFrame({"item_id": range(84), "title": [f"A {k} film, no. {i}" for i, k in enumerate(kind_of)]})
    return Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]), items)


@pytest.fixture(scope="session")
def fitted(world, small):
    from llmrec_lite.llma import LLMA

    return LLMA(small, encoder=KindEncoder()).fit(world)


@pytest.fixture(scope="session")
def save_bert():
    """Give a function (folder, words) that saves a BERT of two layers, 24 numbers wide, which knows these words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    def save(folder, words):
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
        (folder / "vocab.txt").write_text("\n".join(vocabulary))
        BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=40).save_pretrained(folder)
        torch.manual_seed(0)
        shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
        config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=40, initializer_range=0.3, **shape)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
        return folder

    return save
