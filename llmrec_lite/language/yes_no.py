"""Chapter 10: a chat model as a classifier, by the logits of the answers yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.errors import SettingError
from llmrec_lite.language.text_models import Example, StackModel, labels

if TYPE_CHECKING:
    from llmrec_lite.language.gpt import GPT


class YesNoClassifier(StackModel):
    """Chat model as a classifier: the logit is that of the token "Yes" less that of "No", after the prompt.

    As in Bao et al., "TALLRec", RecSys 2023. Before training it is the model itself, asked zero-shot.

    Args:
        gpt: with a tokenizer; it is changed by training.
        max_length: longest prompt, in tokens; a cut one would lose its question.
        train: "lora", "lora-top<k>", "top<k>" or "full", see `TextClassifier`.
        rank: of the LoRA, see `add_lora`, as for alpha, targets and seed.
        alpha: of the LoRA.
        targets: of the LoRA.
        seed: of the LoRA.
    """

    def __init__(
        self,
        gpt: GPT,
        max_length: int = 1024,
        train: str = "lora-top4",
        rank: int = 8,
        alpha: float = 16,
        targets: Sequence[str] = ("query", "value"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if gpt.tokenizer is None:
            raise SettingError("this GPT has no tokenizer; set its attribute `tokenizer`")
        answers = [gpt.tokenizer.encode(word).ids for word in ("Yes", "No")]
        if any(len(ids) != 1 for ids in answers):
            raise SettingError("Yes and No must be one token each; take a model whose tokenizer has them")
        self.gpt, self.answers = gpt, [ids[0] for ids in answers]
        self.max_length = min(max_length, gpt.config.max_length)
        if train == "head":
            raise SettingError('it has no head to train; take train="lora-top4"')
        self.set_trainable(train, rank, alpha, targets, seed)
        self.eval()

    @property
    def layers(self) -> nn.ModuleList:
        """Blocks of the GPT."""
        return self.gpt.blocks

    @property
    def embedding(self) -> nn.Module:
        """Table of tokens."""
        return self.gpt.embed

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        assert self.gpt.tokenizer is not None
        rows = [encoding.ids for encoding in self.gpt.tokenizer.encode_batch(texts)]
        if long := [len(row) for row in rows if len(row) > self.max_length]:
            raise SettingError(f"a prompt has {long[0]} tokens, above max_length={self.max_length}; give fewer titles")
        return rows

    def _embed(self, ids: Tensor) -> Tensor:
        return self.gpt.embed(ids)

    def _layer(self, layer: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
        t = x.shape[1]
        return layer(x, self.gpt.cos[:t], self.gpt.sin[:t], None, None, None)  # no token sees the padding behind it

    def _pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x[:, -1] if mask is None else x[torch.arange(len(x), device=x.device), mask.sum(1) - 1]

    def _output(self, pooled: Tensor) -> Tensor:
        yes, no = (self.gpt.head or self.gpt.embed).weight[self.answers]  # two rows of the largest matrix of all
        return (self.gpt.norm(pooled).float() * (yes - no)).sum(-1)

    def loss(self, examples: Sequence[Example]) -> Tensor:
        """Mean cross-entropy in nats of the labels, with yes and no as the only answers."""
        logits = self._outputs([e.text for e in examples], keep=True)
        return F.binary_cross_entropy_with_logits(logits, labels(examples, logits))

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        """Probabilities p(yes) / (p(yes) + p(no)), (n,) float32."""
        return expit(self._read([e.text for e in examples]))
