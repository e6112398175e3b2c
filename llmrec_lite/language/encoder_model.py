"""Chapter 9: the network behind the encoder, loaded with care and made fast on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from llmrec_lite import assets
from llmrec_lite.language.pretrained import PretrainedError, model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class _PackedLinear(nn.Module):
    """`nn.Linear` with its weights laid out for oneDNN once; a sixth faster here, and made for all processors."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight, 512)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack_linear(model: nn.Module) -> None:
    """Replace the linear layers by oneDNN's, or leave them as they are where this build of torch has none.

    torch multiplies matrices with MKL, which on processors of other makers than its own takes a slower path.
    """
    try:
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    packed = _PackedLinear(child)
                    packed(torch.zeros(1, child.in_features))  # a build may have the one call and not the other
                    setattr(parent, name, packed)
    except (AttributeError, RuntimeError):
        return


def load_encoder(name_or_path: str | Path) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load a tokenizer and a model in float32, ready to be read from, without what follows the last layer.

    Args:
        name_or_path: "minilm", a folder, or an id of the hub; weights are taken from safetensors only.

    Raises:
        AssetError: the book's model is not there and cannot be fetched.
        PretrainedError: any other is not there, cannot be read, or lacks weights.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    folder = assets.locate("minilm") if str(name_or_path) == "minilm" else _folder(name_or_path)
    quiet, level = not logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise PretrainedError(
            f"{folder} holds no sentence encoder that can be read ({type(error).__name__}: {str(error)[:200]}). It "
            "needs config.json, tokenizer.json and model.safetensors; fetch or save them again."
        ) from error
    finally:
        logging.set_verbosity(level)
        if not quiet:
            logging.enable_progress_bar()
    lacking = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if lacking or not tokenizer.is_fast:
        what = f"lacks weights such as {lacking[0]}" if lacking else "has no tokenizer.json"
        raise PretrainedError(f"{folder} {what}; a model with random parts would give vectors without meaning")
    if hasattr(model, "pooler"):
        model.pooler = None  # we pool ourselves, and in many folders its weights are random
    return tokenizer, model.eval().requires_grad_(False)


def _folder(name_or_path: str | Path) -> Path:
    try:
        return model_folder(name_or_path)
    except PretrainedError as error:
        raise PretrainedError(
            f"there is no encoder {str(name_or_path)!r}: it is neither a folder nor an id of the hub, owner/name, that "
            "can be had. Take 'minilm', a folder with a model, or, over a network, an id such as "
            "sentence-transformers/all-MiniLM-L12-v2."
        ) from error
