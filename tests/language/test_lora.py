"""LoRA: the paper's formula, equal to peft in values, gradients and merged weights; files that fit or say why not."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertModel

from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.language.lora import (
    LoRALinear,
    adapter_state,
    add_lora,
    base_fingerprint,
    load_adapter,
    merge_lora,
    save_adapter,
    trainable_parameters,
)


class MLP(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.up, self.down, self.my_up = nn.Linear(6, 9), nn.Linear(9, 5, bias=False), nn.Linear(5, 6)

    def forward(self, x):
        return self.my_up(self.down(self.up(x).relu()).relu())


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def learn(model, seed=5):
    """Give every B some numbers, as training does."""
    with torch.no_grad():
        for i, module in enumerate(m for m in model.modules() if isinstance(m, LoRALinear)):
            module.B.copy_(numbers(*module.B.shape, seed=seed + i))
    return model


# ---- one layer ----


def test_the_formula_by_hand():
    linear = nn.Linear(3, 2)
    layer = LoRALinear(linear, rank=2, alpha=6)
    x = numbers(4, 3)
    torch.testing.assert_close(layer(x), linear(x))  # B is zero
    with torch.no_grad():
        layer.A.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
        layer.B.copy_(torch.tensor([[0.0, 1], [2, 0]]))
    expected = linear(x) + 3 * torch.stack([x[:, 1], 2 * x[:, 0]], 1)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.merge()(x), expected)
    assert not linear.weight.requires_grad


def test_the_start_is_that_of_peft_and_comes_from_the_seed():
    state = torch.get_rng_state()
    one, same, other = (LoRALinear(nn.Linear(64, 40), 8, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.A, same.A)
    assert not torch.equal(one.A, other.A)
    assert one.A.abs().max() <= 1 / 8  # kaiming-uniform with a = sqrt(5): 1 / sqrt(in)
    assert one.A.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.1)
    torch.manual_seed(3)
    reference = torch.empty(8, 64)
    nn.init.kaiming_uniform_(reference, a=5**0.5)
    assert torch.equal(one.A, reference)
    torch.set_rng_state(state)
    LoRALinear(nn.utils.skip_init(nn.Linear, 4, 4), 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_hits_the_correction_only_and_in_training_only():
    linear = nn.Linear(50, 4)
    layer = LoRALinear(linear, 2, dropout=0.5)
    x = numbers(1, 50)
    assert torch.equal(layer(x), linear(x))
    learn(layer)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    torch.testing.assert_close(layer(x), layer.merge()(x))


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"rank": 4}])
def test_settings_out_of_range_are_named(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(SettingError, match=f"{name}={value}"):
        LoRALinear(nn.Linear(5, 3), **({"rank": 2} | wrong))


# ---- equal to peft ----


def tiny_bert():
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
    config = BertConfig(vocab_size=30, max_position_embeddings=20, initializer_range=0.3, **shape)
    return BertModel(config, add_pooling_layer=False).eval()


def as_bert(model):
    ids = torch.arange(1, 15).view(2, 7)
    return model(input_ids=ids).last_hidden_state


def as_mlp(model):
    return model(numbers(4, 6))


@pytest.mark.parametrize(
    ("make", "run", "targets", "layers"),
    [
        (MLP, as_mlp, ["up", "down"], 2),
        (tiny_bert, as_bert, ["query", "value"], 4),
        (tiny_bert, as_bert, ["intermediate.dense"], 2),
    ],
)
def test_equal_to_peft_in_values_gradients_and_merged_weights(make, run, targets, layers):
    base = make()
    ours = learn(add_lora(copy.deepcopy(base), targets, rank=3, alpha=7, seed=1))
    config = LoraConfig(r=3, lora_alpha=7, target_modules=targets, lora_dropout=0.0)
    theirs = get_peft_model(copy.deepcopy(base), config)
    wrapped = {name: module for name, module in ours.named_modules() if isinstance(module, LoRALinear)}
    assert len(wrapped) == layers
    with torch.no_grad():
        for name, module in wrapped.items():
            twin = theirs.base_model.model.get_submodule(name)
            twin.lora_A["default"].weight.copy_(module.A)
            twin.lora_B["default"].weight.copy_(module.B)
    one, other = run(ours), run(theirs)
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    assert (one - run(base)).abs().max() > 0.1
    weight = numbers(*one.shape, seed=9)
    (one * weight).mean().backward()
    (other * weight).mean().backward()
    for name, module in wrapped.items():
        twin = theirs.base_model.model.get_submodule(name)
        torch.testing.assert_close(module.A.grad, twin.lora_A["default"].weight.grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(module.B.grad, twin.lora_B["default"].weight.grad, rtol=1e-5, atol=1e-6)
        assert module.A.grad.abs().max() > 0
        assert module.linear.weight.grad is None
    n, total = trainable_parameters(ours)
    assert (n, total) == theirs.get_nb_trainable_parameters()
    merge_lora(ours)
    merged = theirs.merge_and_unload()
    assert ours.state_dict().keys() == base.state_dict().keys() == merged.state_dict().keys()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, merged.state_dict()[name], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(run(ours), one, rtol=1e-4, atol=1e-5)


# ---- a model ----


def test_names_match_by_their_last_parts():
    model = add_lora(nn.Sequential(MLP(), MLP()), ["up", "1.down"], rank=2)
    wrapped = [name for name, module in model.named_modules() if isinstance(module, LoRALinear)]
    assert wrapped == ["0.up", "1.up", "1.down"]
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {f"{name}.{x}" for name in wrapped for x in "AB"}
    assert not torch.equal(model[0].up.A, model[1].up.A)


def test_numbers_that_learn_are_counted():
    model = add_lora(MLP(), ["up"], rank=2)
    assert trainable_parameters(model) == (2 * (6 + 9), 2 * (6 + 9) + 63 + 45 + 36)


def test_a_target_that_is_not_there_is_named_and_changes_nothing():
    model = MLP()
    for targets, match in (
        (["up", "query"], "'query'.*down, my_up, up"),
        ("up", "targets"),
        ([], "targets"),
    ):
        with pytest.raises(SettingError, match=match):
            add_lora(model, targets)
    with pytest.raises(SettingError, match=r"rank=8.*6"):
        add_lora(model, ["up", "down"], rank=8)
    assert type(model.up) is nn.Linear
    add_lora(model, ["up"], rank=2)
    with pytest.raises(SettingError, match="'up'"):  # it is wrapped already
        add_lora(model, ["up"], rank=2)


# ---- files ----


def test_an_adapter_comes_back(tmp_path):
    model = learn(add_lora(MLP(), ["up", "down"], 4))
    save_adapter(model, tmp_path / "new" / "a.safetensors", {"note": 1})
    assert (tmp_path / "new" / "a.safetensors").stat().st_mode & 0o777 == 0o644  # not for its owner only
    again = load_adapter(add_lora(MLP(), ["up", "down"], 4, seed=9), tmp_path / "new" / "a.safetensors")
    assert torch.equal(again(numbers(3, 6)), model(numbers(3, 6)))
    assert adapter_state(model).keys() == {"up.A", "up.B", "down.A", "down.B"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.safetensors"]
    assert load_file(tmp_path / "new" / "a.safetensors").keys() == adapter_state(model).keys()


def damaged(path):
    path.write_bytes(path.read_bytes()[:-7])


def of_another_kind(path):
    save_file({"x": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    ("make", "spoil", "match"),
    [
        (lambda: add_lora(MLP(1), ["up"], 4), None, None),
        (lambda: add_lora(MLP(), ["up"], 3), None, r"up\.A .*\(4, 6\).*\(3, 6\)"),
        (lambda: add_lora(MLP(), ["down"], 4), None, r"down\.A"),
        (lambda: add_lora(MLP(), ["up"], 4, alpha=1), None, "alpha"),
        (lambda: add_lora(MLP(), ["up"], 4), damaged, r"a\.safetensors"),
        (lambda: add_lora(MLP(), ["up"], 4), of_another_kind, r"a\.safetensors"),
        (lambda: add_lora(MLP(), ["up"], 4), lambda path: path.unlink(), r"a\.safetensors"),
    ],
)
def test_a_file_that_does_not_fit_says_so_and_changes_nothing(tmp_path, make, spoil, match):
    path = tmp_path / "a.safetensors"
    save_adapter(learn(add_lora(MLP(), ["up"], 4)), path)
    if spoil:
        spoil(path)
    model = make()
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(ModelFileError, match=match):
        load_adapter(model, path)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_nothing_learned_and_no_room_are_named(tmp_path):
    with pytest.raises(SettingError):
        save_adapter(MLP().requires_grad_(False), tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(ModelFileError, match="file/a"):
        save_adapter(add_lora(MLP(), ["up"], 2), tmp_path / "file" / "a")


def test_the_fingerprint_sees_frozen_weights_and_nothing_else():
    model = add_lora(MLP(), ["up"], 2)
    before = base_fingerprint(model)
    learn(model)
    assert base_fingerprint(model) == before
    with torch.no_grad():
        model.down.weight[0, 0] += 1e-6
    assert base_fingerprint(model) != before


def test_rank_one_is_a_rank():
    layer = LoRALinear(nn.Linear(3, 2), rank=1)
    assert (layer.A.shape, layer.B.shape) == ((1, 3), (2, 1))


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2))
    (tmp_path / "taken" / "file").mkdir(parents=True)  # a folder cannot be replaced by a file
    with pytest.raises((ModelFileError, OSError)):
        save_adapter(model, tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
