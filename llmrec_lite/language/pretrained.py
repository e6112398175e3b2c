"""Chapter 7: where a pre-trained model comes from: an asset, a folder of the reader's, or the Hugging Face hub.

Only the asset needs `transformers`, once: it comes as a quantized GGUF file and is unpacked into a folder as the
hub has it. `llama_files` reads such a folder without.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import save_file

from llmrec_lite import assets

MANIFEST = ".manifest.json"
CONVERSION = 1  # raise it when the conversion changes, and old conversions are made anew


class PretrainedError(RuntimeError):
    """A pre-trained model is not there, is of another kind, or is damaged. The message says what to do."""


def model_folder(name_or_path: str | Path) -> Path:
    """Return the folder of a model: an asset ("smollm2"), a folder of the reader's, or one fetched from the hub.

    Raises:
        PretrainedError: there is no such folder, asset or model on the hub, or it cannot be fetched.
    """
    if str(name_or_path) == "smollm2":
        return smollm2_folder()
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    if not isinstance(name_or_path, str) or not re.fullmatch(r"[\w.-]+/[\w.-]+", name_or_path):
        raise PretrainedError(
            f'There is no folder {str(name_or_path)!r}. Give a folder, "smollm2", or the id of a model on the hub, '
            "such as HuggingFaceTB/SmolLM2-360M-Instruct."
        )
    import huggingface_hub  # its import takes a moment, and only this line needs it

    try:
        return Path(huggingface_hub.snapshot_download(name_or_path, allow_patterns=["*.safetensors", "*.json"]))
    except (OSError, ValueError, RuntimeError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise PretrainedError(
            f"There is no folder {name_or_path!r}, and the hub did not give a model of that id "
            f"({type(error).__name__}). Check the id and the network, or give a folder that holds the model."
        ) from error


def smollm2_folder() -> Path:
    """Return the folder of SmolLM2-135M-Instruct as safetensors in float32; convert the asset where it is missing.

    Raises:
        AssetError: the asset is not there and cannot be fetched.
        PretrainedError: the conversion cannot be stored.
    """
    cache = assets.cache_dir()
    folder, staging = cache / "smollm2-safetensors", cache / ".smollm2-safetensors.part"
    if _is_converted(folder):
        return folder
    source = assets.locate("smollm2")
    try:
        with FileLock(cache / ".smollm2-safetensors.lock"):
            if _is_converted(folder):
                return folder  # another process has done it while we waited
            shutil.rmtree(staging, ignore_errors=True)  # what a killed process left
            try:
                _convert(next(source.glob("*.gguf")), staging / "new")
                if folder.exists():
                    folder.rename(staging / "old")
                (staging / "new").rename(folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise PretrainedError(
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
    """Write the GGUF file as a folder of safetensors: the same numbers, no longer packed in four bits."""
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
    target.mkdir(parents=True)
    tokenizer.save_pretrained(target)
    config = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    (target / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForCausalLM"]}, indent=2), "utf-8")
    weights = {key: value.contiguous() for key, value in model.state_dict().items() if key != "lm_head.weight"}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    _write_manifest(target)


def _write_manifest(target: Path) -> None:
    """Note from what the files were made and their sizes, so that a cut or outdated conversion is noticed."""
    sizes = {file.name: file.stat().st_size for file in target.iterdir()}
    manifest = {"made_from": [assets.ASSETS["smollm2"].sha256, CONVERSION], "bytes": sizes}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
