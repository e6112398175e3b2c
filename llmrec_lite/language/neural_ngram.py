"""Chapter 6: the neural n-gram model, in which similar words have similar vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.compute import adam_epochs, pick_device
from llmrec_lite.errors import SettingError
from llmrec_lite.language.ngram import Context, NgramModel, context_pairs


class NgramNet(nn.Module):
    """Neural n-gram network: embedded words of the context, one hidden layer, a score for every word.

    z = W_2 tanh(W_1 [e_1; ...; e_(order-1)] + b_1) + b_2, equation (6.5). Bengio, Ducharme, Vincent and Jauvin,
    "A Neural Probabilistic Language Model", JMLR 3, 2003, equation 1, without its direct connections.

    Shapes: contexts (n, order - 1) of word numbers -> logits (n, n_words). Row n_words of the embedding is the
    start of a sentence.
    """

    def __init__(self, n_words: int, order: int, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_words + 1, dim)
        self.drop = nn.Dropout(dropout)
        self.hidden = nn.Linear((order - 1) * dim, hidden)
        self.out = nn.Linear(hidden, n_words)

    def forward(self, contexts: Tensor) -> Tensor:
        """Logits of the next word."""
        return self.out(self.drop(torch.tanh(self.hidden(self.embed(contexts).flatten(1)))))


class NeuralNgram(NgramModel):
    """Neural n-gram model of order 2 or more, trained by cross-entropy.

    Args:
        order: n of the n-gram.
        dim: length of a word's embedding.
        hidden: width of the hidden layer.
        n_epochs: passes over the words.
        learning_rate: of Adam, falling to zero along half a cosine.
        dropout: of the hidden layer.
        batch_size: words a step.
        min_count: rarer words become unknown.
        seed: of initial weights and order.
        device: "auto", "cpu", "cuda".
        on_epoch: called with (epoch, model) after each pass; return True to stop.
    """

    def __init__(
        self,
        order: int = 4,
        dim: int = 64,
        hidden: int = 128,
        n_epochs: int = 3,
        learning_rate: float = 0.003,
        dropout: float = 0.1,
        batch_size: int = 512,
        min_count: int = 5,
        seed: int = 0,
        device: str = "auto",
        on_epoch: Callable[[int, NeuralNgram], bool | None] | None = None,
    ) -> None:
        super().__init__(order, min_count)
        if order < 2:
            raise SettingError(f"a neural n-gram needs a context: order must be at least 2, not {order!r}")
        self.dim, self.hidden, self.n_epochs, self.learning_rate = dim, hidden, n_epochs, learning_rate
        self.dropout, self.batch_size, self.seed, self.on_epoch = dropout, batch_size, seed, on_epoch
        self.device = pick_device(device)

    def _fit(self, texts: list[list[int]]) -> None:
        contexts, words = self._tensors(texts)
        generator = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):  # the layers draw their start from the global generator
            torch.manual_seed(self.seed)
            self.net_ = NgramNet(len(self.words_), self.order, self.dim, self.hidden, self.dropout).to(self.device)
            passes = adam_epochs(
                self.net_,
                lambda: torch.randperm(len(words), generator=generator).split(self.batch_size),
                lambda rows: F.cross_entropy(self.net_(contexts[rows].to(self.device)), words[rows].to(self.device)),
                self.n_epochs,
                self.learning_rate,
                progress="neural n-gram",
            )
            for epoch, _ in enumerate(passes):
                self.net_.eval()
                if self.on_epoch is not None and self.on_epoch(epoch, self):
                    break
        self.net_.eval()

    def similar(self, word: str, k: int = 5) -> list[str]:
        """The k words with the largest cosine between their rows of W_2: they follow like contexts."""
        vectors = F.normalize(self.net_.out.weight.detach(), dim=1)
        cosines = vectors @ vectors[self.index_[word]]
        cosines[[0, 1, self.index_[word]]] = -torch.inf  # not the end, the unknown word or the word itself
        return [str(self.words_[i]) for i in cosines.topk(k).indices.tolist()]

    def _tensors(self, texts: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Contexts (n, order - 1), filled up with starts on the left, and words (n,)."""
        pairs = [pair for text in texts for pair in context_pairs(text, self.order)]
        contexts = torch.tensor([self._fill(context) for context, _ in pairs])
        return contexts, torch.tensor([word for _, word in pairs])

    def _fill(self, context: Context) -> list[int]:
        return [self._start] * (self.order - 1 - len(context)) + list(context)

    @torch.no_grad()
    def _distribution(self, context: Context) -> np.ndarray:
        logits = self.net_(torch.tensor([self._fill(context)], device=self.device))
        return torch.softmax(logits[0].double(), dim=-1).cpu().numpy()

    @torch.no_grad()
    def _log_probabilities(self, texts: list[list[int]]) -> np.ndarray:
        contexts, words = self._tensors(texts)
        losses = [
            F.cross_entropy(self.net_(c.to(self.device)), w.to(self.device), reduction="none").cpu()
            for c, w in zip(contexts.split(4096), words.split(4096), strict=True)
        ]
        return -torch.cat(losses).double().numpy()
