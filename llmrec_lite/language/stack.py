"""Chapter 10: a stack of layers of which a part is frozen: what is frozen is computed once a text."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from llmrec_lite.language.encoder import length_batches
from llmrec_lite.language.lora import add_lora


@dataclass(frozen=True)
class Example:
    """A text and what is true of it.

    Raises:
        ValueError: the text is empty or wrongly decoded, or the label lies outside 0 to 1.
    """

    text: str
    label: float = 1.0  # 1 for yes, 0 for no; a share in between is a soft label
    other: str = ""  # a second text, for a model that compares two
    user: int = -1  # indices of whom and what it is about, -1 where it is about none
    item: int = -1

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("the text of an example is empty; drop it or fill it in")
        if not 0 <= self.label <= 1:
            raise ValueError(f"label={self.label!r} must lie between 0 (no) and 1 (yes): {self.text[:60]!r}")
        if re.search("[\ud800-\udfff]", self.text + self.other):
            raise ValueError(f"{self.text[:60]!r} holds half a character; it was decoded wrongly, read it as UTF-8")


class StackModel(nn.Module, ABC):
    """A stack of layers on tokens, then an output. Layers below the lowest that learns are computed once a text.

    These frozen layers run without dropout and in full precision; their states are kept in memory, t d numbers a
    text (d where no layer learns), until `cache_bytes` are full. What comes later is computed each time.

    A subclass gives `layers` and `embedding`, and the steps from `_tokens` to `_output`. Letters in shapes: n texts,
    t tokens, d numbers in a state; a mask (n, t) is True for a token, and None where nothing is padded.
    """

    cache_bytes = 2**30
    gradient_checkpointing = False  # keep no states inside of layers for the backward pass; compute them again
    max_length: int
    padding = 0  # the token at padded places

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[str, Tensor] = {}
        self._ids: dict[str, list[int]] = {}
        self._cached_below = self._cached_bytes = 0

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The layers, lowest first."""

    @property
    @abstractmethod
    def embedding(self) -> nn.Module:
        """What is below the layers."""

    def first_layer(self) -> int:
        """Return the lowest layer that learns, len(layers) where none does, and -1 where the embedding does."""
        if any(p.requires_grad for p in self.embedding.parameters()):
            return -1
        learns = (any(p.requires_grad for p in layer.parameters()) for layer in self.layers)
        return next((i for i, yes in enumerate(learns) if yes), len(self.layers))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is frozen stays in evaluation mode, so that it gives the same states each time."""
        super().train(mode)
        if mode and (first := self.first_layer()) >= 0:
            for module in (self.embedding, *self.layers[:first]):
                module.eval()
        return self

    def clear_cache(self) -> None:
        """Forget all states, as must be after a change of frozen weights."""
        self._cache.clear()
        self._cached_bytes = 0

    def forward(self, x: Tensor, mask: Tensor | None, first: int) -> Tensor:
        """From the states below layer `first`, (n, t, d), or pooled ones (n, d), to outputs (n, ...)."""
        return self._output(
            self._pool(self._run(x, mask, max(first, 0), len(self.layers)), mask) if x.dim() == 3 else x
        )

    def choose(self, train: str, rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
        """Freeze all but "full", "lora", "top<k>" (layers), "lora-top<k>", or nothing ("head").

        Raises:
            ValueError: another word, or more layers than there are.
        """
        if not (match := re.fullmatch(r"head|full|(lora)(?:-top(\d+))?|top(\d+)", train)):
            raise ValueError(f'train must be "head", "full", "lora", "top<k>" or "lora-top<k>", not {train!r}')
        k = int(match[2] or match[3] or len(self.layers))
        if not 1 <= k <= len(self.layers):
            raise ValueError(f"train={train!r}: the model has 1 to {len(self.layers)} top layers")
        self.requires_grad_(train == "full")
        top = nn.ModuleList(self.layers[-k:])
        if match[1]:
            add_lora(top, targets, rank, alpha, seed=seed)
        elif match[3]:
            top.requires_grad_(True)

    def _run(self, x: Tensor, mask: Tensor | None, start: int, stop: int) -> Tensor:
        for layer in self.layers[start:stop]:
            if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(self._layer, layer, x, mask, use_reentrant=False)
            else:
                x = self._layer(layer, x, mask)
        return x

    def _outputs(self, texts: Sequence[str], keep: bool) -> Tensor:
        """Return the outputs of texts in their order; equal lengths go together, to save padding."""
        device, distinct = next(self.parameters()).device, list(dict.fromkeys(texts))
        if new := [text for text in distinct if text not in self._ids]:
            self._ids.update(zip(new, self._tokens(new), strict=True))
        order, first = sorted(distinct, key=lambda text: len(self._ids[text]), reverse=True), self.first_layer()
        if first != self._cached_below:
            self.clear_cache()
            self._cached_below = first
        outputs = []
        budget = 65_536 if device.type == "cuda" else 2048
        for group in length_batches([len(self._ids[text]) for text in order], budget):
            outputs.append(self(*self._below(order[group], first, keep, device), first))
        place = {text: i for i, text in enumerate(order)}
        return torch.cat(outputs)[torch.tensor([place[text] for text in texts], device=device)]

    def _below(self, texts: list[str], first: int, keep: bool, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Return the states of texts below layer `first`, padded, or pooled where no layer learns; and their mask."""
        if first <= 0:
            ids, mask = self._padded(texts, device)
            with torch.set_grad_enabled(torch.is_grad_enabled() and first < 0):
                return self._embed(ids), mask
        known = {text: self._cache[text] for text in texts if text in self._cache}
        if missing := [text for text in texts if text not in known]:
            ids, mask = self._padded(missing, device)
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                states = self._run(self._embed(ids), mask, 0, first)
                rows = self._pool(states, mask) if first == len(self.layers) else states
            for text, row in zip(missing, rows, strict=True):
                known[text] = row if row.dim() == 1 else row[: len(self._ids[text])]
                size = known[text].numel() * row.element_size()
                if keep and self._cached_bytes + size <= self.cache_bytes:
                    self._cache[text] = known[text].clone()  # of its own: a view would keep the whole batch
                    self._cached_bytes += size
        x = pad_sequence([known[text].to(device) for text in texts], batch_first=True)
        return x, self._mask(texts, device)

    def _padded(self, texts: list[str], device: torch.device) -> tuple[Tensor, Tensor | None]:
        rows = [torch.tensor(self._ids[text]) for text in texts]
        return pad_sequence(rows, True, self.padding).to(device), self._mask(texts, device)

    def _mask(self, texts: list[str], device: torch.device) -> Tensor | None:
        lengths = torch.tensor([len(self._ids[text]) for text in texts])
        longest = int(lengths.max())
        return None if int(lengths.min()) == longest else (torch.arange(longest) < lengths[:, None]).to(device)

    @torch.no_grad()
    def _read(self, texts: Sequence[str]) -> np.ndarray:
        """Return outputs as numbers, without dropout; the mode stays what it was, and nothing new is kept."""
        was_training = self.training
        self.eval()
        try:
            return self._outputs(texts, keep=False).float().cpu().numpy()
        finally:
            self.train(was_training)

    @abstractmethod
    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each text."""

    @abstractmethod
    def _embed(self, ids: Tensor) -> Tensor:
        """Token ids (n, t) -> states below the layers (n, t, d)."""

    @abstractmethod
    def _layer(self, layer: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
        """Run one layer, (n, t, d) -> (n, t, d)."""

    @abstractmethod
    def _pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """States of the tokens (n, t, d) -> one of each text (n, d)."""

    @abstractmethod
    def _output(self, pooled: Tensor) -> Tensor:
        """(n, d) -> outputs (n, ...)."""
