"""Chapter 10: text models for `finetune`: a classifier and a bi-encoder."""

from __future__ import annotations

import copy
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from llmrec_lite.errors import SettingError
from llmrec_lite.language.encoder import Pooling, length_batches, pool
from llmrec_lite.language.lora import add_lora, load_adapter, read_adapter, save_adapter
from llmrec_lite.language.pretrained import load_encoder


@dataclass(frozen=True)
class Example:
    """Text with a label."""

    text: str
    label: float = 1.0  # 1 for yes, 0 for no; a share in between is a soft label
    other: str = ""  # a second text, for a model that compares two
    user: int = -1  # indices of whom and what it is about, -1 where it is about none
    item: int = -1

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise SettingError("the text of an example is empty; drop it or fill it in")
        if not 0 <= self.label <= 1:
            raise SettingError(f"label={self.label!r} must lie between 0 (no) and 1 (yes): {self.text[:60]!r}")
        if re.search("[\ud800-\udfff]", self.text + self.other):
            raise SettingError(f"{self.text[:60]!r} holds half a character; it was decoded wrongly, read it as UTF-8")


class StackModel(nn.Module, ABC):
    """Stack of layers on tokens, then an output. Layers below the lowest that learns are computed once a text.

    These frozen layers run without dropout and in full precision; their states are kept in memory, t d numbers a
    text (d where no layer learns), until `cache_bytes` are full.

    Letters in shapes: n texts, t tokens, d numbers in a state; a mask (n, t) is True for a token, and None where
    nothing is padded.
    """

    cache_bytes = 2**30
    gradient_checkpointing = False  # keep no states inside of layers for the backward pass; compute them again
    max_length: int
    padding = 0  # the token at padded positions

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[str, Tensor] = {}
        self._ids: dict[str, list[int]] = {}
        self._cached_below = self._cached_bytes = 0

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """Layers, lowest first."""

    @property
    @abstractmethod
    def embedding(self) -> nn.Module:
        """Module below the layers."""

    def first_layer(self) -> int:
        """Index of the lowest layer that learns, len(layers) where none does, -1 where the embedding does."""
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
        """Outputs (n, ...) from the states below layer `first`, (n, t, d), or pooled ones (n, d)."""
        if x.dim() == 3:
            x = self._pool(self._run(x, mask, max(first, 0), len(self.layers)), mask)
        return self._output(x)

    def set_trainable(self, train: str, rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
        """Freeze all but "full", "lora", "top<k>" (layers), "lora-top<k>", or nothing ("head")."""
        if not (match := re.fullmatch(r"head|full|(lora)(?:-top(\d+))?|top(\d+)", train)):
            raise SettingError(f'train must be "head", "full", "lora", "top<k>" or "lora-top<k>", not {train!r}')
        k = int(match[2] or match[3] or len(self.layers))
        if not 1 <= k <= len(self.layers):
            raise SettingError(f"train={train!r}: the model has 1 to {len(self.layers)} top layers")
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
        """Outputs of texts in their order; equal lengths go together, to save padding."""
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
        row = {text: i for i, text in enumerate(order)}
        return torch.cat(outputs)[torch.tensor([row[text] for text in texts], device=device)]

    def _below(self, texts: list[str], first: int, keep: bool, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """States of texts below layer `first`, padded, or pooled where no layer learns; and their mask."""
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
        """Outputs as numbers, without dropout; the mode stays what it was, and nothing new is kept."""
        was_training = self.training
        self.eval()
        try:
            return self._outputs(texts, keep=False).float().cpu().numpy()
        finally:
            self.train(was_training)

    @abstractmethod
    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text."""

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


class _EncoderModel(StackModel):
    """Texts to pooled states of an encoder of `transformers`; the arguments are explained in `TextClassifier`."""

    def __init__(
        self,
        name_or_path: str | Path = "minilm",
        pooling: Pooling = "mean",
        pretrained: bool = True,
        seed: int = 0,
        max_length: int = 128,
        train: str = "head",
        peft_config: Any = None,
        rank: int = 8,
        alpha: float = 16,
        targets: Sequence[str] = ("query", "value"),
    ) -> None:
        super().__init__()
        self.settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        pool(torch.zeros(1, 1, 1), how=pooling)  # rejects an unknown way
        self.pooling, self.max_length = pooling, max_length
        self._tokenizer, model = cast(Any, load_encoder(name_or_path))
        if not pretrained:
            from transformers import AutoModel

            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = AutoModel.from_config(model.config).float().eval()
            model.pooler = None
        if not hasattr(model, "embeddings") or not hasattr(getattr(model, "encoder", None), "layer"):
            raise SettingError(f"{name_or_path} is a {type(model).__name__}; it must be built like BERT, as RoBERTa is")
        most = min(self._tokenizer.model_max_length, model.config.max_position_embeddings)
        if not 3 <= max_length <= most:
            raise SettingError(f"max_length must lie between 3 and this model's {most} tokens, not {max_length}")
        self.padding, self.encoder = self._tokenizer.pad_token_id or 0, model
        self._tuner: list[Any] = []  # in a list, since its modules are those of the encoder
        if peft_config is None:
            self.set_trainable(train, rank, alpha, targets, seed)
        else:
            self._adapt(peft_config, seed)
        self.head = self._make_head(model.config.hidden_size, seed)
        self.eval()

    @abstractmethod
    def _make_head(self, d: int, seed: int) -> nn.Module:
        """Module on the pooled states (n, d)."""

    def _adapt(self, peft_config: Any, seed: int) -> None:
        from peft import get_peft_model

        if getattr(peft_config, "is_prompt_learning", False):
            raise SettingError(f"{type(peft_config).__name__} adds to the prompt; take one that adapts layers, as LoRA")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._tuner.append(get_peft_model(self.encoder, copy.deepcopy(peft_config)).base_model)

    @property
    def layers(self) -> nn.ModuleList:
        """Layers of the encoder."""
        return self.encoder.encoder.layer

    @property
    def embedding(self) -> nn.Module:
        """Embeddings of tokens, positions and types."""
        return self.encoder.embeddings

    def after_step(self, step: int) -> None:
        """Let AdaLoRA move ranks to where they are needed, after an update and before its gradients are forgotten."""
        for tuner in self._tuner:
            if hasattr(tuner, "update_and_allocate"):
                tuner.update_and_allocate(step)

    def _regularizer(self) -> Tensor | float:
        """Penalty of AdaLoRA for matrices that are not orthogonal (Zhang et al., ICLR 2023, equation 4); 0 else."""
        if not self._tuner or not hasattr(self._tuner[0], "update_and_allocate"):
            return 0.0
        (config,) = self._tuner[0].peft_config.values()
        wide = [p if "lora_A" in n else p.T for n, p in self.named_parameters() if "lora_A" in n or "lora_B" in n]
        return config.orth_reg_weight * torch.stack([(w @ w.T - torch.eye(len(w)).to(w)).norm() for w in wide]).mean()

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return self._tokenizer(texts, truncation=True, max_length=self.max_length, verbose=False)["input_ids"]

    def _embed(self, ids: Tensor) -> Tensor:
        return self.encoder.embeddings(input_ids=ids)

    def _layer(self, layer: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:  # to be added to the scores of attention, (n, 1, 1, t)
            mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, torch.finfo(x.dtype).min)[:, None, None]
        states = layer(x, mask)
        return states if isinstance(states, Tensor) else states[0]  # a tuple before transformers 5

    def _pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return pool(x, mask, self.pooling)

    def save(self, path: str | Path) -> None:
        """Write settings and all that learns to one safetensors file; what is frozen comes from `name_or_path`.

        Raises:
            ModelFileError: the file cannot be written.
        """
        config, settings = self.settings["peft_config"], dict(self.settings)
        settings |= {"name_or_path": str(settings["name_or_path"]), "targets": list(settings["targets"])}
        if config is not None:
            plain = json.dumps(config.to_dict(), default=lambda x: x.value if isinstance(x, Enum) else sorted(x))
            settings["peft_config"] = json.loads(plain)
        save_adapter(self, path, settings)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Model of a file of `save`.

        Raises:
            ModelFileError: the file is missing, damaged or of another kind, or its base model is missing or changed.
        """
        settings = dict(read_adapter(path)[1]["settings"])
        if settings.get("peft_config"):
            from peft import get_peft_config

            settings["peft_config"] = get_peft_config(settings["peft_config"])
        return load_adapter(cls(**settings), path).eval()


class TextClassifier(_EncoderModel):
    """Binary text classifier: an encoder, its pooled states, one linear layer to a logit.

    Devlin et al., "BERT", NAACL 2019, section 4.1, with the mean of all states instead of the first one.

    Args:
        name_or_path: "minilm", a folder of an encoder built like BERT, or an id of the Hugging Face hub.
        pooling: "mean", "cls" or "max", see `encoder.pool`.
        pretrained: False takes the same architecture with random weights.
        seed: of all that is random at the start.
        max_length: a text is cut after so many tokens.
        train: what learns besides the head: "head" (nothing), "full" (all), "top<k>" (the upper k layers), "lora" (a
            `LoRALinear` in every layer) or "lora-top<k>".
        peft_config: of a `peft` adapter to train instead of `train`: LoraConfig, AdaLoraConfig, IA3Config ...
        rank: of the LoRA, see `add_lora`, as for alpha and targets.
        alpha: of the LoRA.
        targets: of the LoRA.
    """

    def _make_head(self, d: int, seed: int) -> nn.Module:
        head = nn.utils.skip_init(nn.Linear, d, 1)
        nn.init.normal_(head.weight, 0, 0.02, torch.Generator().manual_seed(seed))
        nn.init.zeros_(head.bias)
        return head

    def _output(self, pooled: Tensor) -> Tensor:
        return self.head(pooled)[:, 0].float()

    def loss(self, examples: Sequence[Example]) -> Tensor:
        """Mean cross-entropy in nats of the labels."""
        logits = self._outputs([e.text for e in examples], keep=True)
        return F.binary_cross_entropy_with_logits(logits, labels(examples, logits)) + self._regularizer()

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        """Probabilities of yes, (n,) float32."""
        return expit(self._read([e.text for e in examples]))


class BiEncoder(_EncoderModel):
    """Bi-encoder: texts of users and of items to unit vectors by one encoder, trained by InfoNCE.

    The arguments are those of `TextClassifier`; train="head" learns a matrix (d, d) on the frozen vectors, which
    begins as the identity.
    """

    temperature = 0.05

    def _make_head(self, d: int, seed: int) -> nn.Module:
        if self.first_layer() < len(self.layers):
            return nn.Identity()
        head = nn.utils.skip_init(nn.Linear, d, d, bias=False)
        nn.init.eye_(head.weight)
        return head

    def _output(self, pooled: Tensor) -> Tensor:
        return F.normalize(self.head(pooled).float(), dim=-1)

    def loss(self, examples: Sequence[Example]) -> Tensor:
        """Mean of -ln softmax(cosine(text, other of all examples) / 0.05) at the text's own other.

        InfoNCE (van den Oord et al. 2018) with the rest of the batch for negatives (Henderson et al. 2017): with
        `accumulate` there are fewer. An example that shares its text or its other is no negative.
        """
        users, items = self._pairs(examples)
        if wrong := [e for e in examples if e.label < 1]:
            raise SettingError(f"pairs must belong together; leave out label={wrong[0].label}: {wrong[0].text[:60]!r}")
        left, right = self._outputs(users + items, keep=True).split(len(examples))
        u, v = np.array(users), np.array(items)
        same = torch.from_numpy(((u == u[:, None]) | (v == v[:, None])) & ~np.eye(len(u), dtype=bool)).to(left.device)
        with torch.autocast(left.device.type, enabled=False):  # a cosine in bfloat16 has two digits
            scores = (left @ right.T / self.temperature).masked_fill(same, -torch.inf)
        return F.cross_entropy(scores, torch.arange(len(u), device=left.device)) + self._regularizer()

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        """Cosines of text and other, (n,) float32."""
        users, items = self._pairs(examples)
        left, right = np.split(self._read(users + items), 2)
        return (left * right).sum(1)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, (n, d) float32: an encoder for `TextRecommender`."""
        return self._read(texts) if len(texts) else np.empty((0, self.encoder.config.hidden_size), np.float32)

    @staticmethod
    def _pairs(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
        if lonely := [e for e in examples if not e.other.strip()]:
            raise SettingError(f"an example needs its other text to be compared with: {lonely[0].text[:60]!r}")
        return [e.text for e in examples], [e.other for e in examples]


def labels(examples: Sequence[Example], like: Tensor) -> Tensor:
    """Labels, (n,), with type and device of another tensor."""
    return torch.tensor([e.label for e in examples], dtype=like.dtype, device=like.device)
