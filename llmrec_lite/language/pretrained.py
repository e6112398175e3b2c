"""Chapter 7: pre-trained models from an asset, a folder, or the Hugging Face hub."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec_lite import assets
from llmrec_lite.errors import ModelFileError
from llmrec_lite.files import atomic_file, atomic_folder, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


MANIFEST = ".manifest.json"
CONVERSION = 1  # raise it when the conversion changes, and old conversions are made anew


def model_folder(name_or_path: str | Path) -> Path:
    """Folder of a model: an asset ("smollm2"), a folder, or a model fetched from the hub.

    Raises:
        ModelFileError: there is no such folder or model on the hub, or it cannot be fetched.
    """
    if str(name_or_path) == "smollm2":
        return smollm2_folder()
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    if not isinstance(name_or_path, str) or not re.fullmatch(r"[\w.-]+/[\w.-]+", name_or_path):
        raise ModelFileError(
            f'There is no folder {str(name_or_path)!r}. Give a folder, "smollm2", or the id of a model on the hub, '
            "such as HuggingFaceTB/SmolLM2-360M-Instruct."
        )
    import huggingface_hub  # its import takes a moment, and only this line needs it

    try:
        return Path(huggingface_hub.snapshot_download(name_or_path, allow_patterns=["*.safetensors", "*.json"]))
    except (OSError, ValueError, RuntimeError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise ModelFileError(
            f"There is no folder {name_or_path!r}, and the hub did not give a model of that id "
            f"({type(error).__name__}). Check the id and the network, or give a folder that holds the model."
        ) from error


def smollm2_folder() -> Path:
    """Folder of SmolLM2-135M-Instruct as safetensors in float32, converted once from the asset, a GGUF file."""
    cache = assets.cache_dir()
    folder = cache / "smollm2-safetensors"
    if _is_converted(folder):
        return folder
    source = assets.locate("smollm2")
    try:
        with FileLock(cache / ".smollm2-conversion.lock"):
            if not _is_converted(folder):  # unless another process has done it while we waited
                with atomic_folder(folder) as part:
                    _convert(next(source.glob("*.gguf")), part)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"Cannot store the converted smollm2 in {cache}: {error}. Make room there (1.2 GB) or make it writable, "
            "or set the environment variable LLMREC_CACHE to another folder."
        ) from error
    return folder


def _is_converted(folder: Path) -> bool:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        made_from = [assets.ASSETS["smollm2"].sha256, CONVERSION]
        return manifest["made_from"] == made_from and all(
            (folder / name).stat().st_size == size for name, size in manifest["bytes"].items()
        )
    return False


def _convert(gguf: Path, target: Path) -> None:
    """Write the GGUF file as a folder of safetensors: the same numbers, unpacked, which need no `transformers`."""
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print("smollm2: unpacking the weights, half a minute, this once.", file=sys.stderr)
    options = {"gguf_file": gguf.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    # The GGUF file says "smollm": split off every digit, then split as GPT-2 does. The import knows only the second
    # step, so it would read a digit after two spaces as the model never saw it.
    backend = tokenizer.backend_tokenizer
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.save_pretrained(target)
    config = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    write_json(target / "config.json", config | {"architectures": ["LlamaForCausalLM"]})
    weights = {key: value.contiguous() for key, value in model.state_dict().items() if key != "lm_head.weight"}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    _write_manifest(target)


def _write_manifest(target: Path) -> None:
    """Note the source of the files and their sizes, so that a cut or outdated conversion is noticed."""
    sizes = {file.name: file.stat().st_size for file in target.iterdir()}
    manifest = {"made_from": [assets.ASSETS["smollm2"].sha256, CONVERSION], "bytes": sizes}
    write_json(target / MANIFEST, manifest)


Config = TypeVar("Config")

# Our names of the weights, and those of the Llama family; "*" stands for the number of a block.
NAMES = {
    "embed.weight": "model.embed_tokens.weight",
    "blocks.*.attn.query.weight": "model.layers.*.self_attn.q_proj.weight",
    "blocks.*.attn.key.weight": "model.layers.*.self_attn.k_proj.weight",
    "blocks.*.attn.value.weight": "model.layers.*.self_attn.v_proj.weight",
    "blocks.*.attn.out_proj.weight": "model.layers.*.self_attn.o_proj.weight",
    "blocks.*.mlp.gate.weight": "model.layers.*.mlp.gate_proj.weight",
    "blocks.*.mlp.up.weight": "model.layers.*.mlp.up_proj.weight",
    "blocks.*.mlp.down.weight": "model.layers.*.mlp.down_proj.weight",
    "blocks.*.norm_attn.weight": "model.layers.*.input_layernorm.weight",
    "blocks.*.norm_mlp.weight": "model.layers.*.post_attention_layernorm.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
# Weights that some files carry and that follow from others.
DERIVED = re.compile(r".*rotary_emb\.inv_freq|lm_head\.weight")


def their_name(name: str) -> str:
    """Llama name of one of our weights: "blocks.3.mlp.up.weight" -> "model.layers.3.mlp.up_proj.weight"."""
    number = re.search(r"\d+", name)
    pattern = NAMES[re.sub(r"\d+", "*", name)]
    return pattern.replace("*", number[0]) if number else pattern


def read_json(file: Path) -> dict[str, Any]:
    """JSON object from the folder of a model.

    Raises:
        ModelFileError: the file is missing or damaged.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(f"{file.parent} holds no {file.name}, so it is not the folder of a model.") from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{file} cannot be read ({error}). Fetch the model again.") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{file} holds no JSON object. Fetch the model again.")
    return content


def read_config(folder: Path, make: Callable[..., Config]) -> Config:
    """Config of a Llama's config.json; `make` is `GPTConfig`, or takes its fields.

    Raises:
        ModelFileError: the file is missing or damaged, or describes a model that ours is not.
    """
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind != "llama":
        raise ModelFileError(f"{folder} holds a model of type {kind!r}; only the type 'llama' is supported.")
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
            raise ModelFileError(f"{folder}: this Llama has {name} = {value!r}; only {ours!r} is supported.")
    generation = folder / "generation_config.json"  # may know more ends than the model's own file
    ends = (read_json(generation) if generation.exists() else {}).get("eos_token_id", config.get("eos_token_id"))
    try:
        return make(
            vocab_size=config["vocab_size"],
            dim=config["hidden_size"],
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
        raise ModelFileError(f"{folder / 'config.json'} does not give {error}. Fetch the model again.") from error
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{folder / 'config.json'} describes a model that cannot be: {error}.") from error


def load_weights(folder: Path, model: nn.Module) -> None:
    """Put model.safetensors, or its shards, into a `GPT` as float32.

    Raises:
        ModelFileError: a file is missing or damaged, or does not fit the model.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    files = [single]
    if not single.exists() and index.exists():
        files = [folder / name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]
    ours = {their_name(name): name for name in model.state_dict()}
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            found = load_file(file)
        except FileNotFoundError as error:
            raise ModelFileError(
                f"{folder} holds no {file.name}. Weights are read from safetensors only, never from pickle (.bin, .pt)."
            ) from error
        except (OSError, SafetensorError) as error:
            raise ModelFileError(f"{file} is damaged or cut short ({error}). Fetch it again.") from error
        weights |= {
            ours.get(name, name): tensor.float()
            for name, tensor in found.items()
            if name in ours or not DERIVED.fullmatch(name)
        }
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ModelFileError(f"The weights in {folder} do not belong to its config.json: {error}") from error


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """Tokenizer of tokenizer.json; None where there is none, since a model can be used with token ids alone."""
    file = folder / "tokenizer.json"
    if not file.exists():
        return None
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise ModelFileError(f"{file} is damaged ({error}). Fetch it again.") from error


def write_model(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Tokenizer | None
) -> None:
    """Write the folder of a Llama from the fields of a `GPTConfig` and weights under our names."""
    theirs = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": config["vocab_size"],
        "hidden_size": config["dim"],
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
    named = {their_name(name): weight.detach().cpu().contiguous() for name, weight in weights.items()}
    with atomic_file(folder / "model.safetensors") as part:
        save_file(named, part, metadata={"format": "pt"})
    write_json(folder / "config.json", theirs)
    if tokenizer is not None:
        write_json(folder / "tokenizer.json", json.loads(tokenizer.to_str()))


def load_encoder(name_or_path: str | Path) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Tokenizer and frozen encoder in float32, without a pooler: "minilm", a folder, or an id of the hub.

    Raises:
        AssetError: the book's model is not there and cannot be fetched.
        ModelFileError: any other is not there, cannot be read, or lacks weights.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    folder = assets.locate("minilm") if str(name_or_path) == "minilm" else model_folder(name_or_path)
    quiet, level = not logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelFileError(
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
        raise ModelFileError(f"{folder} {what}; a model with random parts would give vectors without meaning")
    if hasattr(model, "pooler"):
        model.pooler = None  # we pool ourselves, and in many folders its weights are random
    return tokenizer, model.eval().requires_grad_(False)
