"""Chapter 7: the files of a model of the Llama family, checked and brought into the names and shapes of our own.

A model is a folder as the Hugging Face hub has it: config.json, weights in safetensors (never pickle, which can
run code), and tokenizer.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmrec_lite.language.pretrained import PretrainedError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Config = TypeVar("Config")

# Our names of the weights, and those of the Llama family; "*" stands for the number of a block.
NAMES = {
    "embed.weight": "model.embed_tokens.weight",
    "blocks.*.attend.query.weight": "model.layers.*.self_attn.q_proj.weight",
    "blocks.*.attend.key.weight": "model.layers.*.self_attn.k_proj.weight",
    "blocks.*.attend.value.weight": "model.layers.*.self_attn.v_proj.weight",
    "blocks.*.attend.merge.weight": "model.layers.*.self_attn.o_proj.weight",
    "blocks.*.feed.gate.weight": "model.layers.*.mlp.gate_proj.weight",
    "blocks.*.feed.up.weight": "model.layers.*.mlp.up_proj.weight",
    "blocks.*.feed.down.weight": "model.layers.*.mlp.down_proj.weight",
    "blocks.*.norm_attend.weight": "model.layers.*.input_layernorm.weight",
    "blocks.*.norm_feed.weight": "model.layers.*.post_attention_layernorm.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
# Weights that some files carry and that follow from others.
DERIVED = re.compile(r".*rotary_emb\.inv_freq|lm_head\.weight")


def their_name(name: str) -> str:
    """Return the Llama name of one of our weights: "blocks.3.feed.up.weight" -> "model.layers.3.mlp.up_proj.weight"."""
    number = re.search(r"\d+", name)
    pattern = NAMES[re.sub(r"\d+", "*", name)]
    return pattern.replace("*", number[0]) if number else pattern


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise PretrainedError(f"{file.parent} holds no {file.name}, so it is not the folder of a model.") from error
    except (OSError, ValueError) as error:
        raise PretrainedError(f"{file} cannot be read ({error}). Fetch the model again.") from error
    if not isinstance(content, dict):
        raise PretrainedError(f"{file} holds no JSON object. Fetch the model again.")
    return content


def read_config(folder: Path, make: Callable[..., Config]) -> Config:
    """Read config.json and make a `GPTConfig` of it.

    Args:
        folder: of the model.
        make: called with the fields of a `GPTConfig`; that class itself.

    Raises:
        PretrainedError: the file is missing or damaged, its sizes cannot be, or the model has a part that ours has not.
    """
    config = _read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind != "llama":
        raise PretrainedError(f"{folder} holds a model of type {kind!r}; only the type 'llama' is supported.")
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    heads = config.get("num_attention_heads")
    parts = {
        "hidden_act": (config.get("hidden_act", "silu"), "silu"),
        "attention_bias": (config.get("attention_bias", False), False),
        "mlp_bias": (config.get("mlp_bias", False), False),
        "rope_type": (rope.get("rope_type", rope.get("type", "default")), "default"),
        "head_dim * num_attention_heads": ((config.get("head_dim") or 0) * (heads or 0), config.get("hidden_size")),
    }
    if not config.get("head_dim") or not heads:
        del parts["head_dim * num_attention_heads"]
    for name, (value, ours) in parts.items():
        if value != ours:
            raise PretrainedError(f"{folder}: this Llama has {name} = {value!r}; only {ours!r} is supported.")
    generation = folder / "generation_config.json"  # may know more ends than the model's own file
    ends = (_read_json(generation) if generation.exists() else {}).get("eos_token_id", config.get("eos_token_id"))
    try:
        return make(
            vocab_size=config["vocab_size"],
            d=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads") or heads,
            d_ff=config["intermediate_size"],
            max_length=config["max_position_embeddings"],
            rope_theta=rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
            norm_eps=config["rms_norm_eps"],
            tied=config.get("tie_word_embeddings", False),
            end_tokens=tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,),
        )
    except KeyError as error:
        raise PretrainedError(f"{folder / 'config.json'} does not give {error}. Fetch the model again.") from error
    except (TypeError, ValueError) as error:
        raise PretrainedError(f"{folder / 'config.json'} describes a model that cannot be: {error}.") from error


def read_weights(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read model.safetensors, or its shards, as float32 under our names.

    Args:
        folder: of the model.
        expected: a tensor of the right shape for each of our names; its values do not matter.

    Raises:
        PretrainedError: a file is missing or damaged, or tensors are missing, too many or of another shape.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    files = [single]
    if not single.exists() and index.exists():
        files = [folder / name for name in sorted(set(_read_json(index).get("weight_map", {}).values()))]
    found: dict[str, Tensor] = {}
    for file in files:
        try:
            found |= load_file(file)
        except FileNotFoundError as error:
            raise PretrainedError(
                f"{folder} holds no {file.name}. Weights are read from safetensors only, never from pickle (.bin, .pt)."
            ) from error
        except (OSError, SafetensorError) as error:
            raise PretrainedError(f"{file} is damaged or cut short ({error}). Fetch it again.") from error
    wanted = {their_name(name): (name, tensor.shape) for name, tensor in expected.items()}
    missing = sorted(set(wanted) - set(found))
    surplus = sorted(name for name in set(found) - set(wanted) if not DERIVED.fullmatch(name))
    wrong = [
        f"{name} is {tuple(found[name].shape)} and not {tuple(shape)}"
        for name, (_, shape) in wanted.items()
        if name in found and found[name].shape != shape
    ]
    for trouble, what in ((missing, "lack"), (surplus, "hold what no Llama of this config has:"), (wrong, "differ:")):
        if trouble:
            more = f" and {len(trouble) - 3} more" if len(trouble) > 3 else ""
            raise PretrainedError(
                f"The weights in {folder} {what} {', '.join(trouble[:3])}{more}. They do not belong to its config.json."
            )
    return {ours: found[theirs].float() for theirs, (ours, _) in wanted.items()}


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """Read tokenizer.json; None where there is none, since a model can be used with token ids alone.

    Raises:
        PretrainedError: the file is damaged.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        return None
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise PretrainedError(f"{file} is damaged ({error}). Fetch it again.") from error


def write_model(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Tokenizer | None
) -> None:
    """Write a model of ours as the folder of a Llama, each file first under a temporary name.

    Args:
        folder: made where it is missing; files of an older model in it are replaced.
        config: the fields of a `GPTConfig`.
        weights: under our names.
        tokenizer: written where it is given.
    """
    theirs = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": config["vocab_size"],
        "hidden_size": config["d"],
        "num_hidden_layers": config["layers"],
        "num_attention_heads": config["heads"],
        "num_key_value_heads": config["kv_heads"],
        "intermediate_size": config["d_ff"],
        "max_position_embeddings": config["max_length"],
        "rope_theta": config["rope_theta"],
        "rms_norm_eps": config["norm_eps"],
        "tie_word_embeddings": config["tied"],
        "bos_token_id": None,
        "eos_token_id": list(config["end_tokens"]) or None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    named = {their_name(name): weight.detach().cpu().contiguous() for name, weight in weights.items()}
    part = folder / ".model.part"
    save_file(named, part, metadata={"format": "pt"})
    part.replace(folder / "model.safetensors")
    texts = {"config.json": json.dumps(theirs, indent=2)}
    if tokenizer is not None:
        texts["tokenizer.json"] = tokenizer.to_str()
    for name, text in texts.items():
        part.write_text(text, "utf-8")
        part.replace(folder / name)
