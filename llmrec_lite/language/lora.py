"""Chapter 10: LoRA, low-rank adaptation of frozen weight matrices (Hu et al., ICLR 2022)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.compute import random_seed
from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.files import atomic_file

Model = TypeVar("Model", bound=nn.Module)


class LoRALinear(nn.Module):
    """Linear layer that is frozen, with a correction of low rank that learns.

    y = W x + b + (alpha / rank) B A dropout(x), equation 3 of Hu et al., "LoRA: Low-Rank Adaptation of Large Language
    Models", ICLR 2022, with B (out, rank), at first zero, and A (rank, in), uniform (He et al. 2015, a = sqrt(5)), as
    in `peft`. Shapes: (..., in) -> (..., out). The weights of `linear` are shared, not copied.
    """

    def __init__(
        self, linear: nn.Linear, rank: int = 8, alpha: float = 16, dropout: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        most = min(linear.in_features, linear.out_features)
        if not 1 <= rank <= most:
            raise SettingError(f"rank={rank} must lie between 1 and {most}, the rank of the matrix it corrects")
        self.linear, self.rank, self.alpha = linear.requires_grad_(False), rank, alpha
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        a = torch.empty(rank, linear.in_features)
        nn.init.kaiming_uniform_(a, sqrt(5), generator=torch.Generator().manual_seed(seed))
        self.A = nn.Parameter(a.to(linear.weight))
        self.B = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        # Two thin products; B A itself would cost as much as W.
        correction = F.linear(F.linear(self.dropout(x), self.A), self.B)
        return self.linear(x) + self.alpha / self.rank * correction

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """Plain layer with the weights W + (alpha / rank) B A."""
        options = {"device": self.linear.weight.device, "dtype": self.linear.weight.dtype}
        merged = nn.Linear(self.linear.in_features, self.linear.out_features, self.linear.bias is not None, **options)
        merged.weight.copy_(self.linear.weight + self.alpha / self.rank * self.B @ self.A)
        if self.linear.bias is not None:
            merged.bias.copy_(self.linear.bias)
        return merged.requires_grad_(False).train(self.training)


def add_lora(
    model: Model,
    targets: Sequence[str] = ("query", "value"),
    rank: int = 8,
    alpha: float = 16,
    dropout: float = 0.0,
    seed: int = 0,
) -> Model:
    """Same model, frozen, with a `LoRALinear` around each of its linear layers that is named.

    Args:
        model: any module.
        targets: last parts of names: "query" means "layers.0.query" and "query", and not "my_query".
        rank: see `LoRALinear`, as for alpha and dropout.
        alpha: numerator of the scale.
        dropout: of the inputs of A.
        seed: of all matrices A.

    Raises:
        SettingError: a target is the name of no linear layer, or a rank is too large for a layer.
    """
    if isinstance(targets, str) or not targets:
        raise SettingError(f'targets must be a list of names such as ["query", "value"], not {targets!r}')
    inside = {f"{name}.linear".lstrip(".") for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    linears = [name for name, m in model.named_modules() if isinstance(m, nn.Linear) and name not in inside]
    found = {target: [n for n in linears if n and f".{n}".endswith(f".{target}")] for target in targets}
    if nothing := [target for target, names in found.items() if not names]:
        known = sorted({name.rpartition(".")[2] for name in linears if name})
        raise SettingError(f"targets: no linear layer is called {nothing[0]!r}; there are {', '.join(known) or 'none'}")
    wanted = [name for name in linears if any(name in names for names in found.values())]
    wrapped = [
        LoRALinear(_linear(model, name), rank, alpha, dropout, random_seed(seed, i)) for i, name in enumerate(wanted)
    ]
    model.requires_grad_(False)
    for name, module in zip(wanted, wrapped, strict=True):
        model.set_submodule(name, module.requires_grad_(True))
        module.linear.requires_grad_(False)
        module.train(model.training)
    return model


def _linear(model: nn.Module, name: str) -> nn.Linear:
    module = model.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module


def merge_lora(model: nn.Module) -> nn.Module:
    """Same model with every `LoRALinear` replaced by the plain layer it has become."""
    if isinstance(model, LoRALinear):
        return model.merge()
    for name, module in list(model.named_modules()):
        if isinstance(module, LoRALinear):
            model.set_submodule(name, module.merge())
    return model


def trainable_parameters(model: nn.Module) -> tuple[int, int]:
    """Numbers of trainable and of all parameters; tied weights count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Learned weights on top of a frozen model, by name: the A and B, and whatever else requires grad."""
    ours = {f"{path}.{x}".lstrip(".") for path, m in model.named_modules() if isinstance(m, LoRALinear) for x in "AB"}
    # AdaLoRA of `peft` counts its ranks in a weight that no gradient reaches.
    return {n: p.detach() for n, p in model.named_parameters() if n in ours or p.requires_grad or ".ranknum." in n}


def base_fingerprint(model: nn.Module) -> str:
    """Fingerprint of the frozen weights of a model: 16 hexadecimal digits."""
    learned, digest = adapter_state(model), hashlib.sha256()
    for name, p in sorted(model.named_parameters()):
        if name in learned:
            continue
        digest.update(f"{name} {p.dtype} {tuple(p.shape)}".encode())
        digest.update(p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _alphas(model: nn.Module) -> dict[str, float]:
    return {name: float(m.alpha) for name, m in model.named_modules() if isinstance(m, LoRALinear)}


def save_adapter(model: nn.Module, path: str | Path, settings: dict[str, Any] | None = None) -> None:
    """Write `adapter_state` to a safetensors file, with settings as JSON.

    Raises:
        SettingError: nothing in the model learns.
        ModelFileError: the file cannot be written.
    """
    path, state = Path(path), adapter_state(model)
    if not state:
        raise SettingError("nothing in the model learns, so there is no adapter to save; call add_lora first")
    about = {"base": base_fingerprint(model), "alpha": _alphas(model), "settings": settings or {}}
    try:
        with atomic_file(path) as part:
            save_file({n: t.cpu().contiguous() for n, t in state.items()}, part, {"llmrec": json.dumps(about)})
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"cannot write {path}: {error}; free some space or name another file") from error


def read_adapter(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a file of `save_adapter`, and its metadata: base, alpha, settings.

    Raises:
        ModelFileError: the file is missing, damaged, or of another kind.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["llmrec"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118  # it is no dict
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no adapter {path}; save one with save_adapter") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelFileError(
            f"{path} is damaged or no adapter of this package ({type(error).__name__}: {error}); save it again"
        ) from error


@torch.no_grad()
def load_adapter(model: Model, path: str | Path) -> Model:
    """Same model with the weights of a file of `save_adapter`; it is changed only if all fits.

    Raises:
        ModelFileError: the file is missing, damaged, or of another base model, rank, alpha or choice of layers.
    """
    tensors, about = read_adapter(path)
    state = adapter_state(model)
    for name in sorted(tensors.keys() | state.keys()):
        was, now = (str(tuple(t[name].shape)) if name in t else "missing" for t in (tensors, state))
        if was != now:
            raise ModelFileError(f"{path} does not fit: {name} is {was} there and {now} here; use its rank and layers")
    if about["alpha"] != _alphas(model):
        raise ModelFileError(f"{path} was learned with another alpha; call add_lora with the alpha it was saved with")
    if about["base"] != base_fingerprint(model):
        raise ModelFileError(f"{path} was learned on another base model; load the one that it was trained on")
    for name, tensor in tensors.items():
        state[name].copy_(tensor)
    return model
