"""Chapter 9: texts as vectors, from a pre-trained encoder, fast and computed once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from llmrec_lite import assets
from llmrec_lite.language.embedding_cache import EmbeddingCache
from llmrec_lite.language.encoder_model import load_encoder, pack_linear
from llmrec_lite.language.vectors import Whitening as Whitening
from llmrec_lite.language.vectors import mean_cosine as mean_cosine
from llmrec_lite.recommenders.neural import pick_device

Pooling = Literal["mean", "cls", "max"]


def pool(states: Tensor, mask: Tensor | None = None, how: Pooling = "mean") -> Tensor:
    """Turn the states of a text's tokens into one vector (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019).

    Args:
        states: (n, t, d), one row a token.
        mask: (n, t), 1 or True for a token and 0 for padding; None where nothing is padded.
        how: "mean" and "max" over the tokens, or "cls", the first token's state.

    Returns:
        (n, d).

    Raises:
        ValueError: an unknown way of pooling, or a text without any token.
    """
    if how not in ("mean", "cls", "max"):
        raise ValueError(f'pooling must be "mean", "cls" or "max", not {how!r}')
    if how == "cls":
        return states[:, 0]
    if mask is None:
        return states.mean(1) if how == "mean" else states.amax(1)
    real = mask.bool()[:, :, None]
    if not real.any(1).all():
        raise ValueError("a text has no token at all, so there is nothing to pool")
    if how == "max":
        return states.masked_fill(~real, -torch.inf).amax(1)
    return (states * real).sum(1) / real.sum(1)


class TextEncoder:
    """Sentences to vectors, so that texts that mean the same point the same way.

    all-MiniLM-L6-v2 is a six-layer Transformer (Wang et al., "MiniLM", NeurIPS 2020) that the sentence-transformers
    project trained on a billion pairs of sentences, in the manner of Reimers and Gurevych, EMNLP 2019. It reads
    English: what its vocabulary lacks, such as most Chinese characters and emoji, becomes the token [UNK], and
    `unknown_share` tells how much of a text that is.

    Args:
        name_or_path: "minilm" for the book's model, a folder that `transformers` can load, or an id of its hub.
        pooling: how tokens become one vector, see `pool`.
        normalize: whether vectors are scaled to length 1.
        max_length: a text is cut after so many tokens, its special tokens counted.
        device: "auto" takes CUDA where there is one. Vectors are float32 everywhere, and equal but for rounding.
        cache: whether vectors are kept on disk, or a folder to keep them in. They are filed under a hash of weights,
            vocabulary, settings and text, so no other model's vector can come back.

    Attributes:
        dimension: length of a vector.
        n_cut: how many of the texts of the last `encode` were cut.

    Raises:
        PretrainedError: no model is there, it cannot be fetched, or its files are damaged.
        AssetError: the book's model is not there and cannot be fetched.
        ValueError: a bad setting.
    """

    n_cut = 0

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
            raise ValueError(f"max_length must lie between 3 and the {most} tokens this model reads, not {max_length}")
        self.dimension: int = model.config.hidden_size
        self._model = model
        self._cache: EmbeddingCache | None = None
        if cache is not False:
            folder = assets.cache_dir() / "embeddings" if cache is True else Path(cache)
            self._cache = EmbeddingCache(folder / f"{self._fingerprint()}.sqlite")
        model.to(self.device)
        if self.device.type == "cpu":
            pack_linear(model)

    def encode(self, texts: Iterable[str], batch_tokens: int | None = None, progress: bool = False) -> np.ndarray:
        """Return the vectors of texts, (len(texts), dimension) float32; equal texts are computed once.

        Args:
            texts: strings with something in them; not one string alone.
            batch_tokens: how many tokens to compute at a time; by default 4,096, and 65,536 on CUDA.
            progress: whether to show a progress bar.

        Raises:
            TypeError: not a list of strings.
            ValueError: an empty text, named by its position.
            MemoryError: a batch does not fit.
        """
        wanted = _checked(texts)
        if batch_tokens is not None and batch_tokens < 1:
            raise ValueError(f"batch_tokens must be at least 1, not {batch_tokens}")
        distinct = list(dict.fromkeys(wanted))
        known = self._cache.read(distinct) if self._cache else {}
        fresh: dict[str, tuple[np.ndarray, bool]] = {}
        try:
            missing = [text for text in distinct if text not in known]
            with tqdm(total=len(missing), desc="texts encoded", disable=not progress) as bar:
                for vectors in self._compute(missing, batch_tokens or (65_536 if self.device.type == "cuda" else 4096)):
                    fresh |= vectors
                    bar.update(len(vectors))
        finally:  # an interruption does not lose what was computed
            if self._cache and fresh:
                self._cache.write(fresh)
        known |= fresh
        self.n_cut = sum(known[text][1] for text in wanted)
        return np.stack([known[text][0] for text in wanted]) if wanted else np.empty((0, self.dimension), np.float32)

    def unknown_share(self, texts: Iterable[str]) -> np.ndarray:
        """Return the share of each text's tokens that the vocabulary does not know, (len(texts),), 0 to 1.

        A vector made of such tokens is a vector like any other, and says little about the text.
        """
        ids = self._tokenize(_checked(texts), special=False)
        unknown = self._tokenizer.unk_token_id  # None where a vocabulary can spell everything in bytes
        return np.array([np.mean([token == unknown for token in row]) if row else 0.0 for row in ids])

    def _tokenize(self, texts: list[str], special: bool = True, cut: bool = False) -> list[list[int]]:
        if not texts:
            return []
        settings = {"truncation": True, "max_length": self.max_length} if cut else {}
        return self._tokenizer(texts, add_special_tokens=special, verbose=False, **settings)["input_ids"]

    def _compute(self, texts: list[str], budget: int) -> Iterator[dict[str, tuple[np.ndarray, bool]]]:
        """Compute vectors in batches of about equal length: only a small batch is padded and masked."""
        ids = self._tokenize(texts)
        long = [i for i, row in enumerate(ids) if len(row) > self.max_length]
        for i, row in zip(long, self._tokenize([texts[i] for i in long], cut=True), strict=True):
            ids[i] = row
        order, cut = sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True), set(long)
        for batch in length_batches([len(ids[i]) for i in order], budget):
            chosen = order[batch]
            try:
                vectors = self._forward([ids[i] for i in chosen])
            except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError, the CPU's is bare
                if not isinstance(error, MemoryError) and not re.search("out of memory|t allocate memory", str(error)):
                    raise
                tokens = len(chosen) * len(ids[chosen[0]])
                raise MemoryError(
                    f"a batch of {len(chosen)} texts, {tokens:,} tokens, does not fit into the memory of "
                    f"{self.device}; call encode(..., batch_tokens={max(1, tokens // 4)})"
                ) from error
            yield {texts[i]: (vector, i in cut) for i, vector in zip(chosen, vectors, strict=True)}

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]]) -> np.ndarray:
        """Token ids, longest first -> (n, dimension)."""
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
        """Hash all that a vector depends on, besides the text: weights, shape, vocabulary, settings."""
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
        if not isinstance(text, str):
            raise TypeError(f"text {i} of {len(wanted)} is not a string but {text!r}; drop it or fill it in")
        if not text.strip():
            raise ValueError(f"text {i} of {len(wanted)} is empty, and nothing has no meaning; drop it or fill it in")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(
                f"text {i} of {len(wanted)} holds half a character; it was decoded wrongly, read it as UTF-8"
            )
    return wanted


def length_batches(lengths: list[int], budget: int) -> Iterator[slice]:
    """Cut a falling list of lengths into batches of at most `budget` tokens, at least one text each.

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
