"""Chapter 15: knowledge distillation: a text encoder into a table of token vectors, an ensemble into one model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from tokenizers import Tokenizer

from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.files import atomic_file
from llmrec_lite.language.text_recommender import Encoder
from llmrec_lite.recommenders.content import unit_rows

FORMAT = 1


class Tokens(Protocol):
    """Tokenizer of the teacher."""

    def __call__(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the tokens of each text."""
        ...


class StaticEncoder(BaseEstimator):
    """Static embedding: a text's vector is the mean of its tokens' rows in a table, scaled to length 1.

    The table is distilled from a teacher. With X the share of each token in each text and T the teacher's vectors of
    the texts, it is E0 + W, where W solves the ridge regression min |X W - (T - X E0)|^2 + l2 |W|^2, equation (15.6),
    and E0 holds the teacher's vectors of single tokens. Word order and context do not matter, and no network is needed.

    Args:
        dim: length of a vector; the teacher's directions of most variance are kept.
        max_vocab: number of tokens, the most frequent in the texts.
        l2: strength of the ridge.
    """

    def __init__(self, dim: int = 128, max_vocab: int = 12_000, l2: float = 0.01, seed: int = 0) -> None:
        if dim < 1 or max_vocab < 1 or not l2 > 0:
            raise SettingError(f"need dim, max_vocab >= 1 and l2 > 0, got {dim}, {max_vocab}, {l2!r}")
        self.dim, self.max_vocab, self.l2, self.seed = dim, max_vocab, l2, seed

    def distill(self, teacher: Encoder, tokens: Tokens, texts: Sequence[str]) -> Self:
        """Learn the table from the vectors of a teacher (`TextEncoder`) and its tokens (`WordPieceTokenizer`)."""
        texts = [text for text in texts if text.strip()]
        cut = tokens(texts)
        counts = Counter(token for one in cut for token in one)
        if not counts:
            raise SettingError("there is nothing to learn from: no text has a token")
        self.tokens_ = tokens
        self.vocabulary_ = {token: row for row, (token, _) in enumerate(counts.most_common(self.max_vocab))}
        goal = np.asarray(teacher.encode(texts), dtype=np.float64)
        directions = PCA(min(self.dim, *goal.shape), random_state=self.seed).fit(goal).components_.T
        shares = self._shares(cut)
        alone = np.asarray(teacher.encode([token.removeprefix("##") for token in self.vocabulary_]), dtype=np.float64)
        begin = alone @ directions
        ridge = Ridge(self.l2, fit_intercept=False, solver="sparse_cg", tol=1e-4)
        change = ridge.fit(shares, goal @ directions - shares @ begin).coef_.T
        # One number a row and eight bits an entry: what the web page loads.
        self.table_, self.steps_ = _rounded(begin + change)
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of length 1, (len(texts), dim) float32; zeros where no token is known."""
        shares = self._shares(self.tokens_(list(texts)))
        return unit_rows(shares @ (self.table_ * self.steps_[:, None])).astype(np.float32)

    @property
    def size(self) -> int:
        """Bytes of the table and the vocabulary, as they are saved."""
        return self.table_.nbytes + self.steps_.nbytes + len(json.dumps(list(self.vocabulary_)).encode())

    def save(self, path: str | Path) -> None:
        """Write the table and its vocabulary to one file."""
        about = {"format": str(FORMAT), "vocabulary": json.dumps(list(self.vocabulary_))}
        tensors = {"table": torch.from_numpy(self.table_), "steps": torch.from_numpy(self.steps_)}
        with atomic_file(path) as part:
            save_file(tensors, part, metadata=about)

    @classmethod
    def load(cls, path: str | Path, tokens: Tokens) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelFileError: the file is damaged, or of another format.
        """
        try:
            with safe_open(str(path), "np") as file:
                about, table, steps = file.metadata() or {}, file.get_tensor("table"), file.get_tensor("steps")
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"{path} is not a table of an encoder: {error}; make it anew with save") from error
        if about.get("format") != str(FORMAT):
            raise ModelFileError(f"{path} has the format {about.get('format')!r}, this version reads {FORMAT}")
        made = cls(dim=table.shape[1])
        made.table_, made.steps_, made.tokens_ = table, steps, tokens
        made.vocabulary_ = {token: row for row, token in enumerate(json.loads(about["vocabulary"]))}
        return made

    def _shares(self, cut: Sequence[Sequence[str]]) -> sparse.csr_array:
        rows, columns, values = [], [], []
        for row, one in enumerate(cut):
            known = [self.vocabulary_[token] for token in one if token in self.vocabulary_]
            rows += [row] * len(known)
            columns += known
            values += [1 / max(len(known), 1)] * len(known)
        return sparse.csr_array((values, (rows, columns)), shape=(len(cut), len(self.vocabulary_)))


class WordPieceTokenizer:
    """WordPiece tokenizer of a model such as MiniLM, from its `tokenizer.json`, without special tokens."""

    def __init__(self, file: str | Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the tokens of each text, unknown characters left out."""
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [[token for token in one.tokens if token != "[UNK]"] for one in encoded]


def _rounded(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize rows to whole numbers from -127 to 127, (v, d) int8, times a step of each row, (v,) float32."""
    steps = np.maximum(np.abs(table).max(1), 1e-12) / 127
    return np.round(table / steps[:, None]).astype(np.int8), steps.astype(np.float32)


def mean_predictions(models: Sequence[object], x: np.ndarray) -> np.ndarray:
    """Mean prediction of an ensemble, (n, tasks): soft labels for a student (Hinton et al., 2015).

    Inputs x (n, d) may be labeled or not; each model has `predict(x)`.
    """
    if not models:
        raise SettingError("there is no model to take a mean of")
    return np.mean([model.predict(x) for model in models], axis=0)  # type: ignore[attr-defined]
