"""Checkpoints: bit for bit there and back, whole at every moment, and never a silent wrong one."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from llmrec_lite.errors import ModelFileError
from llmrec_lite.files import MARK
from llmrec_lite.language import checkpoint
from llmrec_lite.language.checkpoint import fingerprint, latest_checkpoint, load_checkpoint, locked, save_checkpoint
from llmrec_lite.language.pretrain import PretrainConfig, pretrain

FILES = ["SHA256SUMS", "model.safetensors", "optimizer.safetensors", "training.json"]


class Tied(nn.Module):
    """A weight that is used twice, a buffer, and a matrix that is stored the other way round."""

    def __init__(self, vocab: int = 7, d: int = 4) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed, self.norm, self.head = (
                nn.Embedding(vocab, d),
                nn.BatchNorm1d(d),
                nn.Linear(d, vocab, bias=False),
            )
            self.mix = nn.Parameter(torch.randn(d, d).T)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.embed(tokens) @ self.mix
        return self.head(self.norm(states.flatten(0, 1)).view_as(states))


def trained(steps: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = Tied()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for step in range(steps):
        model(torch.tensor([[step, 1, 2]])).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = Tied()
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


@pytest.fixture
def stored(tmp_path) -> Path:
    return save_checkpoint(tmp_path, 3, *trained(), {"lr": 0.1}, {"losses": [0.1, 1 / 3, 2.0]})


def test_there_and_back_bit_for_bit(tmp_path, stored):
    assert sorted(os.listdir(stored)) == FILES
    model, optimizer = fresh()
    assert load_checkpoint(tmp_path, model, optimizer, {"lr": 0.1}) == (3, {"losses": [0.1, 1 / 3, 2.0]})
    expected, its_optimizer = trained()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert model.head.weight is model.embed.weight
    for mine, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert optimizer.state[mine].keys() == its_optimizer.state[other].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(optimizer.state[mine][key], value) for key, value in its_optimizer.state[other].items())
    for m, o in ((model, optimizer), (expected, its_optimizer)):  # and they go on alike
        m(torch.tensor([[6, 5, 4]])).square().sum().backward()
        o.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_folder_without_a_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path, *fresh(), {}) is None


def test_the_sums_are_those_that_sha256sum_checks(stored):
    lines = (stored / "SHA256SUMS").read_text().splitlines()
    expected = [f"{hashlib.sha256((stored / name).read_bytes()).hexdigest()}  {name}" for name in FILES[1:]]
    assert lines == expected


def test_only_the_last_one_is_kept(tmp_path, stored):
    newer = save_checkpoint(tmp_path, 12, *trained(), {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000012"] == [newer.name]
    assert latest_checkpoint(tmp_path) == newer


@pytest.mark.parametrize(
    "failing", ["language.checkpoint.save_file", "files.os.replace", "files.os.fsync", "files.file_sha256"]
)
def test_a_write_that_fails_leaves_the_old_one_whole(tmp_path, stored, monkeypatch, failing):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"llmrec_lite.{failing}", full)
        with pytest.raises(ModelFileError, match="step-00000004"):
            save_checkpoint(tmp_path, 4, *trained(), {"lr": 0.1}, {})
    assert [path.name for path in tmp_path.iterdir()] == [stored.name]
    assert load_checkpoint(tmp_path, *fresh(), {"lr": 0.1})[0] == 3


def test_what_a_killed_process_left_is_removed_and_not_read(tmp_path, stored):
    left = tmp_path / ".step-00000009.abcdefgh.part"
    (left / "new").mkdir(parents=True)
    (left / MARK).touch()
    (left / "new" / "model.safetensors").write_bytes(b"half")
    assert load_checkpoint(tmp_path, *fresh(), {"lr": 0.1})[0] == 3
    assert not left.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", FILES)
def test_damage_gives_one_clear_error_and_changes_nothing(tmp_path, stored, name, damage):
    damage(stored / name)
    model, optimizer = fresh()
    with pytest.raises(ModelFileError, match="step-00000003") as caught:
        load_checkpoint(tmp_path, model, optimizer, {"lr": 0.1})
    if name != "SHA256SUMS":
        assert name in str(caught.value)
    assert torch.equal(model.embed.weight, Tied().embed.weight)
    assert not optimizer.state


def test_another_training_is_refused_by_what_differs(tmp_path, stored):
    model, optimizer = fresh()
    with pytest.raises(ModelFileError, match=r"step-00000003.*lr=0\.1.*lr=0\.2"):
        load_checkpoint(tmp_path, model, optimizer, {"lr": 0.2})
    with pytest.raises(ModelFileError, match=r"seed=None.*seed=1"):
        load_checkpoint(tmp_path, model, optimizer, {"lr": 0.1, "seed": 1})
    assert torch.equal(model.embed.weight, Tied().embed.weight)


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (lambda: Tied(vocab=8), r"embed\.weight.*\(7, 4\).*\(8, 4\)"),
        (lambda: Tied().double(), r"embed\.weight.*float32.*float64"),
        (lambda: nn.Linear(2, 2), r"bias .*\(2,\)"),
        (lambda: nn.Identity(), r"embed\.weight .*\(7, 4\)"),
    ],
)
def test_another_model_is_refused(tmp_path, stored, other, match):
    model = other()
    optimizer = torch.optim.AdamW([*model.parameters(), nn.Parameter(torch.zeros(1))])
    with pytest.raises(ModelFileError, match=match):
        load_checkpoint(tmp_path, model, optimizer, {"lr": 0.1})


def test_one_training_at_a_time(tmp_path):
    folder = tmp_path / "new" / "folder"
    with locked(folder):
        assert folder.is_dir()
        with pytest.raises(ModelFileError, match="new/folder"), locked(folder):
            pass
    with locked(folder):
        pass


def test_fingerprints_tell_data_apart():
    rows = torch.arange(6)
    different = [rows, rows.view(2, 3), rows.view(3, 2), rows.int(), rows.flip(0), "", "a"]
    assert len({fingerprint(data) for data in different}) == len(different)
    assert fingerprint(rows.clone()) == fingerprint(rows)
    assert fingerprint(None) is None


# ---- in the training ----

CONFIG = PretrainConfig(steps=6, batch_size=2, warmup=1, checkpoint_every=2, device="cpu")
ROWS = torch.arange(20).view(5, 4) % 7


def train(folder: Path, config: PretrainConfig = CONFIG, rows: Tensor = ROWS, model: nn.Module | None = None, **more):
    return pretrain(model or Tied(), rows, rows[:2], config, checkpoint=folder, progress=False, **more)


def stop_at_three(done, history):
    return done == 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"learning_rate": 0.5}, "learning_rate=0.001.*learning_rate=0.5"),
        ({"seed": 9}, "seed=0.*seed=9"),
        ({"steps": 7}, "steps=6.*steps=7"),
    ],
)
def test_training_refuses_another_configuration(tmp_path, change, match):
    train(tmp_path, on_step=stop_at_three)
    with pytest.raises(ModelFileError, match=match):
        train(tmp_path, replace(CONFIG, **change))


def test_training_refuses_other_data_another_objective_and_another_model(tmp_path):
    train(tmp_path, on_step=stop_at_three)
    with pytest.raises(ModelFileError, match="train="):
        train(tmp_path, rows=ROWS.flip(0))
    with pytest.raises(ModelFileError, match=r"objective=causal.*objective=masked"):
        train(tmp_path, objective="masked", mask_id=0)
    with pytest.raises(ModelFileError, match=r"embed\.weight"):
        train(tmp_path, model=Tied(d=5))
    with_dropout = Tied()
    with_dropout.drop = nn.Dropout(0.3)  # no weight tells, but the run would not be the same
    with pytest.raises(ModelFileError, match="model="):
        train(tmp_path, model=with_dropout)


def test_how_often_to_write_may_change(tmp_path):
    train(tmp_path, on_step=stop_at_three)
    steps = []
    train(tmp_path, replace(CONFIG, checkpoint_every=5), on_step=lambda done, _: steps.append(done))
    assert steps == [3, 4, 5, 6]
    assert latest_checkpoint(tmp_path).name == "step-00000006"


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    train(tmp_path)
    folder = latest_checkpoint(tmp_path)
    assert sorted(os.listdir(folder)) == FILES
    for name in ("model.safetensors", "optimizer.safetensors"):
        data = (folder / name).read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert all({"dtype", "shape", "data_offsets"} == entry.keys() for entry in header.values())
    assert json.loads((folder / "training.json").read_text())["step"] == 6


def test_training_goes_into_one_folder_once(tmp_path):
    def second(done, history):
        with pytest.raises(ModelFileError, match=tmp_path.name):
            train(tmp_path)

    train(tmp_path, on_step=second)
    assert checkpoint.latest_checkpoint(tmp_path) is not None
