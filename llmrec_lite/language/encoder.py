"""Chapter 9: texts as vectors, from a pre-trained encoder, fast and computed once."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from llmrec_lite import assets
from llmrec_lite.compute import explain_oom, pick_device
from llmrec_lite.errors import SettingError
from llmrec_lite.files import atomic_file
from llmrec_lite.language.pretrained import load_encoder
from llmrec_lite.recommenders.content import unit_rows

_WORTH_KEEPING = 16  # fewer new texts, such as one request, are not worth writing the file anew


class EmbeddingCache:
    """Vectors of one encoder in one `.npz` file, under the hash of the text; a damaged file is computed anew."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> dict[bytes, np.ndarray]:
        """All vectors by the hash of their text."""
        try:
            with self.file.open("rb") as stream, np.load(stream) as stored:  # and check its sums
                return {key.tobytes(): vector for key, vector in zip(stored["keys"], stored["vectors"], strict=True)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print(f"Embeddings: {self.file} cannot be used ({error}); it is made anew.", file=sys.stderr)
            return {}

    def write(self, vectors: dict[bytes, np.ndarray]) -> None:
        """Keep vectors besides those that are there."""
        vectors = self.read() | vectors
        keys = np.frombuffer(b"".join(vectors), np.uint8).reshape(len(vectors), -1)
        try:
            with atomic_file(self.file) as part, part.open("wb") as stream:
                np.savez(stream, keys=keys, vectors=np.stack(list(vectors.values())))
        except OSError as error:
            print(f"Embeddings are not kept: {self.file.parent} cannot be used ({error}). Make it writable, or "
                  "name another folder with cache=...", file=sys.stderr)  # fmt: skip


Pooling = Literal["mean", "cls", "max"]


def pool(states: Tensor, mask: Tensor | None = None, how: Pooling = "mean") -> Tensor:
    """Pooled states of texts (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019): (n, t, d) -> (n, d).

    Args:
        states: (n, t, d), one row a token.
        mask: (n, t), 1 or True for a token and 0 for padding; None where nothing is padded.
        how: "mean" and "max" over the tokens, or "cls", the first token's state.
    """
    if how not in ("mean", "cls", "max"):
        raise SettingError(f'pooling must be "mean", "cls" or "max", not {how!r}')
    if how == "cls":
        return states[:, 0]
    if mask is None:
        return states.mean(1) if how == "mean" else states.amax(1)
    real = mask.bool()[:, :, None]
    if not real.any(1).all():
        raise SettingError("a text has no token at all, so there is nothing to pool")
    if how == "max":
        return states.masked_fill(~real, -torch.inf).amax(1)
    return (states * real).sum(1) / real.sum(1)


class TextEncoder:
    """Sentence encoder: texts to vectors of length `dim`, float32.

    all-MiniLM-L6-v2 is a six-layer Transformer (Wang et al., "MiniLM", NeurIPS 2020) that the sentence-transformers
    project trained on a billion pairs of sentences. It reads English: what its vocabulary lacks, such as most Chinese
    characters, becomes the token [UNK], and `unknown_share` measures how much of a text that is.

    Args:
        name_or_path: "minilm" for the book's model, a folder that `transformers` can load, or an id of its hub.
        pooling: "mean", "cls" or "max", see `pool`.
        normalize: whether vectors are scaled to length 1.
        max_length: a text is cut after so many tokens, its special tokens counted.
        device: "auto", "cpu" or "cuda".
        cache: whether vectors are kept in memory and on disk, or a folder to keep them in. They are filed under a hash
            of weights, vocabulary, settings and text, so no other model's vector can come back.

    Raises:
        ModelFileError: no model is there, it cannot be fetched, or its files are damaged.
        AssetError: the book's model is not there and cannot be fetched.
    """

    def __init__(
        self,
        name_or_path: str | Path = "minilm",
        pooling: Pooling = "mean",
        normalize: bool = True,
        max_length: int = 256,
        device: str = "auto",
        cache: bool | str | Path = True,
    ) -> None:
        pool(torch.zeros(1, 1, 1), how=pooling)  # rejects an unknown way
        self.pooling, self.normalize, self.max_length, self.device = pooling, normalize, max_length, pick_device(device)
        model: Any
        self._tokenizer, model = load_encoder(name_or_path)
        most = min(self._tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 10**30))
        if not 3 <= max_length <= most:
            raise SettingError(f"max_length must lie between 3 and this model's {most} tokens, not {max_length}")
        self.dim: int = model.config.hidden_size
        self._model = model
        self._cache: EmbeddingCache | None = None
        self._known: dict[bytes, np.ndarray] = {}
        if cache is not False:
            folder = assets.cache_dir() / "embeddings" if cache is True else Path(cache)
            self._cache = EmbeddingCache(folder / f"{self._fingerprint()}.npz")
        model.to(self.device)

    def encode(self, texts: Iterable[str], batch_tokens: int | None = None, progress: bool = False) -> np.ndarray:
        """Vectors of texts, (len(texts), dim) float32; equal texts are computed once.

        Args:
            texts: not empty.
            batch_tokens: tokens in a batch; by default 4,096, and 65,536 on CUDA.
            progress: show a progress bar.

        Raises:
            TypeError: one string alone.
            SettingError: an entry that is empty or no string.
            OutOfMemoryError: a batch does not fit.
        """
        wanted = _checked(texts)
        key_of = {text: hashlib.sha256(text.encode()).digest() for text in wanted}
        if self._cache and not self._known:
            self._known = self._cache.read()
        known = self._known if self._cache else {}
        missing = [text for text, key in key_of.items() if key not in known]
        fresh: dict[bytes, np.ndarray] = {}
        try:
            with tqdm(total=len(missing), desc="texts encoded", disable=not progress) as bar:
                for vectors in self._compute(missing, batch_tokens or (65_536 if self.device.type == "cuda" else 4096)):
                    fresh |= {key_of[text]: vector for text, vector in vectors.items()}
                    bar.update(len(vectors))
        finally:  # an interruption does not lose what was computed
            known |= fresh
            if self._cache and len(fresh) >= _WORTH_KEEPING:
                self._cache.write(known)
        rows = [known[key_of[text]] for text in wanted]
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)

    def unknown_share(self, texts: Iterable[str]) -> np.ndarray:
        """Share of each text's tokens that the vocabulary does not know, (len(texts),)."""
        ids = self._tokenize(_checked(texts), special=False)
        unknown = self._tokenizer.unk_token_id  # None where a vocabulary can spell everything in bytes
        return np.array([np.mean([token == unknown for token in row]) if row else 0.0 for row in ids])

    def _tokenize(self, texts: list[str], special: bool = True, cut: bool = False) -> list[list[int]]:
        if not texts:
            return []
        settings = {"truncation": True, "max_length": self.max_length} if cut else {}
        return self._tokenizer(texts, add_special_tokens=special, verbose=False, **settings)["input_ids"]

    def _compute(self, texts: list[str], budget: int) -> Iterator[dict[str, np.ndarray]]:
        """Vectors in batches of about equal length: only a small batch is padded and masked."""
        ids = self._tokenize(texts, cut=True)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True)
        for batch in length_batches([len(ids[i]) for i in order], budget):
            chosen = order[batch]
            tokens = len(chosen) * len(ids[chosen[0]])
            with explain_oom(
                f"a batch of {len(chosen)} texts, {tokens:,} tokens, on {self.device}",
                f"call encode(..., batch_tokens={max(1, tokens // 4)})",
            ):
                vectors = self._forward([ids[i] for i in chosen])
            yield {texts[i]: vector for i, vector in zip(chosen, vectors, strict=True)}

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]]) -> np.ndarray:
        """Token ids, longest first -> (n, dim)."""
        longest, mask = len(ids[0]), None
        if len(ids[-1]) < longest:
            lengths = torch.tensor([len(row) for row in ids])
            mask = (torch.arange(longest) < lengths[:, None]).long().to(self.device)
            padding = self._tokenizer.pad_token_id or 0
            ids = [row + [padding] * (longest - len(row)) for row in ids]
        states = self._model(input_ids=torch.tensor(ids, device=self.device), attention_mask=mask).last_hidden_state
        vectors = pool(states, mask, self.pooling)
        return (nn.functional.normalize(vectors) if self.normalize else vectors).cpu().numpy()

    def _fingerprint(self) -> str:
        """Hash of all that a vector depends on, besides the text: weights, shape, vocabulary, settings."""
        digest = hashlib.sha256(repr((self.pooling, self.normalize, self.max_length)).encode())
        config = {
            k: v for k, v in self._model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")
        }
        digest.update(repr(sorted(config.items())).encode())
        digest.update(self._tokenizer.backend_tokenizer.to_str().encode())
        for name, weight in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            digest.update(weight.contiguous().numpy())
        return digest.hexdigest()[:32]


def _checked(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("texts must be a list of strings, not one string; write encode([text])")
    wanted = list(texts)
    for i, text in enumerate(wanted):
        if not isinstance(text, str) or not text.strip():
            raise SettingError(f"text {i} of {len(wanted)} is {text!r}; drop it or fill it in")
    return wanted


def length_batches(lengths: list[int], budget: int) -> Iterator[slice]:
    """Batches of at most `budget` tokens, at least one text each, of a falling list of lengths.

    A batch ends where the length changes, unless it is so small that a little padding is cheaper than a call.
    """
    start = 0
    for i, length in enumerate(lengths):
        size = (i - start) * lengths[start]
        if i > start and (size + lengths[start] > budget or (length < lengths[i - 1] and size >= budget // 16)):
            yield slice(start, i)
            start = i
    if lengths:
        yield slice(start, len(lengths))


def mean_cosine(vectors: np.ndarray) -> float:
    """Mean cosine of all pairs of different rows of (n, d): anisotropy, about 0 where directions are spread evenly.

    |sum of unit rows|^2 counts every pair twice and every row once. Ethayarajh, "How Contextual are Contextualized
    Word Representations?", EMNLP 2019.
    """
    unit = unit_rows(np.asarray(vectors, dtype=float))
    if len(unit) < 2:
        raise SettingError(f"a pair needs two vectors, and there are {len(unit)}")
    total = unit.sum(0)
    return float((total @ total - np.square(unit).sum()) / (len(unit) * (len(unit) - 1)))


class Whitening:
    """Whitening (Su et al., "Whitening Sentence Representations", 2021) of vectors (n, d).

    Subtracts the mean, drops the `drop` strongest principal components, keeps the next `keep` (None for all), divides
    each by its standard deviation where `scale`, and scales rows to length 1. `Whitening(drop=3, scale=False)` is "all
    but the top" (Mu and Viswanath, ICLR 2018).
    """

    mean_: np.ndarray  # (d,)
    matrix_: np.ndarray  # (d, k)

    def __init__(self, drop: int = 0, keep: int | None = None, scale: bool = True) -> None:
        if drop < 0 or (keep is not None and keep < 1):
            raise SettingError(f"need drop >= 0 and keep >= 1, got drop={drop!r}, keep={keep!r}")
        self.drop, self.keep, self.scale = drop, keep, scale

    def fit(self, vectors: np.ndarray) -> Whitening:
        """Learn from (n, d) vectors, at least two."""
        vectors = np.asarray(vectors, dtype=float)
        if len(vectors) < 2:
            raise SettingError(f"variance needs two vectors, and there are {len(vectors)}")
        self.mean_ = vectors.mean(0)
        variance, components = np.linalg.eigh(np.cov(vectors.T, ddof=0).reshape(len(self.mean_), -1))
        variance, components = variance[::-1], components[:, ::-1]  # strongest first
        some = (variance > 1e-9 * variance[0]) if self.scale else np.ones(len(variance), bool)
        chosen = np.flatnonzero(some)[self.drop :][: self.keep]
        if not len(chosen):
            raise SettingError(f"drop={self.drop} leaves no component of the {int(some.sum())} there are")
        self.matrix_ = components[:, chosen] / (np.sqrt(variance[chosen]) if self.scale else 1.0)
        return self

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Whitened vectors, (n, k) float32 rows of length 1."""
        return unit_rows((np.asarray(vectors, dtype=float) - self.mean_) @ self.matrix_).astype(np.float32)
