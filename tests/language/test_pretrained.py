"""Where models come from, and what is said of files that are missing, damaged or of another kind."""

import json
import threading
import time
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from llmrec_lite import assets
from llmrec_lite.errors import ModelFileError
from llmrec_lite.language import pretrained
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.pretrained import read_config, smollm2_folder, their_name

SMALL = GPTConfig(vocab_size=20, dim=16, layers=2, heads=4, kv_heads=2, d_ff=24, tied=False, end_tokens=(3, 4))


@pytest.fixture
def folder(tmp_path) -> Path:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    GPT(SMALL, tokenizer=tokenizer).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def _edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def test_a_folder_comes_back_as_it_was_written(folder):
    model = GPT.from_pretrained(folder)
    assert model.config == SMALL
    for name, weight in GPT(SMALL).state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    assert model.tokenizer is not None
    assert model.tokenizer.encode("b").ids == [1]
    assert all(weight.requires_grad for weight in model.parameters())
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    (folder / "tokenizer.json").unlink()
    assert GPT.from_pretrained(str(folder)).tokenizer is None


def test_training_what_was_loaded_leaves_the_file_alone(folder):
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        for weight in GPT.from_pretrained(folder).parameters():
            weight.add_(1.0)
    assert (folder / "model.safetensors").read_bytes() == before


def test_shards_and_half_precision(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(sorted(weights))}
    for part in set(index.values()):
        save_file({name: weights[name].bfloat16() for name in weights if index[name] == part}, folder / part)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    for name, weight in GPT.from_pretrained(folder).state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, weights[their_name(name)].bfloat16().float())
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"part-1\.safetensors"):
        GPT.from_pretrained(folder)


def test_older_and_newer_spellings_of_config(folder):
    assert read_config(folder, dict)["rope_theta"] == 10_000
    _edit(folder, rope_theta="gone", rope_parameters={"rope_type": "default", "rope_theta": 7.0}, head_dim=4)
    assert read_config(folder, dict)["rope_theta"] == 7.0
    _edit(folder, rope_parameters="gone", num_key_value_heads=None, eos_token_id=2)
    config = read_config(folder, dict)
    assert (config["rope_theta"], config["kv_heads"], config["end_tokens"]) == (10_000, 4, (2,))
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    assert read_config(folder, dict)["end_tokens"] == (2, 7)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gpt2"}, "'gpt2'.*'llama'"),
        ({"hidden_act": "gelu"}, "hidden_act.*'gelu'.*'silu'"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "llama3"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "linear"),
        ({"head_dim": 8}, "head_dim.*32.*16"),
        ({"vocab_size": "gone"}, "vocab_size"),
        ({"num_attention_heads": "gone"}, "num_attention_heads"),
        ({"vocab_size": 21}, r"config.json: (.|\n)*embed.weight"),
        ({"num_hidden_layers": 3}, r"config.json: (.|\n)*blocks\.2\."),
        ({"num_hidden_layers": 1}, r"config.json: (.|\n)*layers\.1\."),
        ({"num_attention_heads": 3}, "dim=16"),
        ({"hidden_size": "many"}, "config.json"),
    ],
)
def test_a_config_that_does_not_fit(folder, changes, said):
    _edit(folder, **changes)
    with pytest.raises(ModelFileError, match=said):
        GPT.from_pretrained(folder)


def test_files_that_are_missing_or_damaged(folder):
    def said(match: str) -> None:
        with pytest.raises(ModelFileError, match=match):
            GPT.from_pretrained(folder)

    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    said(r"model\.safetensors")
    weights.write_bytes(b"not a model")
    said(r"model\.safetensors")
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    said(r"model\.safetensors")
    (folder / "tokenizer.json").write_text("{")
    said(r"tokenizer\.json")
    (folder / "config.json").write_text("{")
    said(r"config\.json")
    (folder / "config.json").write_text("[]")
    said(r"config\.json")
    (folder / "config.json").unlink()
    said(r"config\.json")


def test_a_model_that_is_nowhere(monkeypatch, tmp_path):
    for name in ("no such folder", tmp_path / "nothing", "smollm3"):
        with pytest.raises(ModelFileError, match=str(name)):
            GPT.from_pretrained(name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelFileError, match="LocalEntryNotFoundError"):
        GPT.from_pretrained("nobody/no-such-model-at-all")


def test_an_id_of_the_hub_is_fetched_as_safetensors(monkeypatch, folder):
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert GPT.from_pretrained("someone/some-llama").config == SMALL
    assert asked == [("someone/some-llama", ["*.safetensors", "*.json"])]


@pytest.fixture
def conversions(monkeypatch, tmp_path) -> list[Path]:
    """A cache of our own and a conversion that only writes a file; returns the list of conversions made."""
    made: list[Path] = []
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "smollm2" / "small.gguf").write_text("x")

    def convert(gguf: Path, target: Path) -> None:
        made.append(gguf)
        time.sleep(0.2)  # long enough for others to come and wait
        (target / "model.safetensors").write_text("weights")
        pretrained._write_manifest(target)

    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    monkeypatch.setattr(assets, "locate", lambda name: tmp_path / name)
    monkeypatch.setattr(pretrained, "_convert", convert)
    return made


def test_the_asset_is_converted_once(conversions, tmp_path):
    threads = [threading.Thread(target=smollm2_folder) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert smollm2_folder() == tmp_path / "smollm2-safetensors"
    assert len(conversions) == 1
    assert not list(tmp_path.glob(".smollm2-safetensors.*.part"))


def test_a_damaged_or_old_conversion_is_made_anew(conversions, tmp_path, monkeypatch):
    weights = smollm2_folder() / "model.safetensors"
    weights.write_text("cut")
    smollm2_folder()
    assert weights.read_text() == "weights"
    (weights.parent / pretrained.MANIFEST).write_text("{")
    smollm2_folder()
    weights.unlink()
    smollm2_folder()
    assert len(conversions) == 4
    monkeypatch.setattr(pretrained, "CONVERSION", pretrained.CONVERSION + 1)
    smollm2_folder()
    smollm2_folder()
    assert len(conversions) == 5


def test_a_conversion_that_fails_leaves_nothing_behind(conversions, tmp_path, monkeypatch):
    def full(gguf: Path, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(pretrained, "_convert", full)
    with pytest.raises(ModelFileError, match="No space left"):
        smollm2_folder()
    assert not (tmp_path / "smollm2-safetensors").exists()
    assert not list(tmp_path.glob(".smollm2-safetensors.*.part"))


@pytest.mark.data
def test_the_tokenizer_of_smollm2_splits_every_digit():
    tokenizer = Tokenizer.from_file(str(smollm2_folder() / "tokenizer.json"))
    for text in ("1995", "a 12", "two  2", "line\n 3", "4/5, 3.14"):
        tokens = tokenizer.encode(text).tokens
        assert not any(len(token) > 1 and any(letter.isdigit() for letter in token) for token in tokens)
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    # "split off digits, then as GPT-2": the two spaces stay together
    assert tokenizer.encode("two  2").tokens == ["two", "ĠĠ", "2"]


@pytest.mark.data
def test_the_conversion_keeps_the_numbers_of_the_gguf_file():
    import gguf

    reader = gguf.GGUFReader(next(assets.locate("smollm2").glob("*.gguf")))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    weights = load_file(smollm2_folder() / "model.safetensors")
    assert len(weights) == len(tensors) == 272
    for theirs, ours in (
        ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"),
        ("blk.29.attn_v.weight", "model.layers.29.self_attn.v_proj.weight"),
        ("output_norm.weight", "model.norm.weight"),
    ):
        packed = tensors[theirs]
        expected = torch.from_numpy(gguf.dequantize(packed.data, packed.tensor_type).copy())
        torch.testing.assert_close(weights[ours], expected, rtol=0, atol=0)
