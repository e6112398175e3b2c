"""LLMA on disk: the same after loading, whole or not at all, and refused when it is not what was written."""

import json
import os

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from llmrec_lite import files
from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.files import file_sha256
from llmrec_lite.llma import LLMA, storage

HISTORY = [(3, 5.0), (44, 2.0)]


@pytest.fixture
def folder(fitted, tmp_path):
    return fitted.save(tmp_path / "model")


def _sign(folder):
    """Write check sums that fit, as somebody would who changes a model on purpose."""
    names = (storage.MODEL, storage.ARRAYS, storage.CATALOG)
    (folder / "SHA256SUMS").write_text("".join(f"{file_sha256(folder / n)}  {n}\n" for n in names))


def test_a_loaded_model_says_the_same(fitted, folder, reads_kinds):
    loaded = LLMA.load(folder, encoder=reads_kinds())
    np.testing.assert_allclose(loaded.score_indices(range(120)), fitted.score_indices(range(120)), atol=1e-6)
    np.testing.assert_allclose(loaded.score_new([HISTORY])[0], fitted.score_new([HISTORY])[0], atol=1e-5)
    np.testing.assert_allclose(loaded.score_items(["A war film"]), fitted.score_items(["A war film"]), atol=1e-5)
    for question in ({"user_id": "u5"}, {"history": HISTORY}, {"request": "love"}, {"user_id": "u5", "request": "war"}):
        ours, theirs = loaded.recommend_for(**question), fitted.recommend_for(**question)
        assert ours["item_id"].tolist() == theirs["item_id"].tolist()
        assert ours["reason"].tolist() == theirs["reason"].tolist()
    assert loaded.config_ == fitted.config_


def test_texts_are_read_by_the_encoder_of_the_fit_or_not_at_all(folder, tmp_path):
    class Other:
        def encode(self, texts):
            return np.ones((len(texts), 2), np.float32)

    for path in (folder, LLMA.load(folder).save(tmp_path / "again")):
        with pytest.raises(SettingError, match="encoder"):
            LLMA.load(path).score_request("love")
        for question in (lambda m: m.score_request("love"), lambda m: m.score_items(["A war film"])):
            with pytest.raises(SettingError, match="encoder"):
                question(LLMA.load(path, encoder=Other()))


def test_a_loaded_model_can_be_saved_again(folder, tmp_path):
    again = LLMA.load(folder).save(tmp_path / "again")
    np.testing.assert_array_equal(LLMA.load(again).score_indices([4]), LLMA.load(folder).score_indices([4]))


def test_everything_is_safetensors_or_json(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "arrays.safetensors",
        "catalog.json",
        "model.json",
    ]
    assert all(os.stat(path).st_mode & 0o044 for path in folder.iterdir())  # others may read it


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors", "catalog.json"])
def test_a_file_that_was_changed_or_is_gone_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=name):
        LLMA.load(folder)
    (folder / name).unlink()
    with pytest.raises(ModelFileError, match=None if name == "model.json" else name):
        LLMA.load(folder)


def test_missing_check_sums(folder):
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(ModelFileError, match="SHA256SUMS"):
        LLMA.load(folder)


def test_another_version_is_refused(folder):
    content = json.loads((folder / "model.json").read_text())
    wrong = (("format", 99, "99"), ("format", True, "True"), ("kind", "Else", "Else"))
    for key, value, message in wrong:
        (folder / "model.json").write_text(json.dumps(content | {key: value}))
        _sign(folder)
        with pytest.raises(ModelFileError, match=message):
            LLMA.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"].update(magic=1), "magic"),
        (lambda c: c["config"].pop("factors"), "factors"),
        (lambda c: c["config"].update(diversity=7), "diversity"),
        (lambda c: c.update(config=None), None),
        (lambda c: c.pop("gate"), "gate"),
        (lambda c: c["parts"].append("more"), "more"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(folder, change, message):
    content = json.loads((folder / "model.json").read_text())
    change(content)
    (folder / "model.json").write_text(json.dumps(content))
    _sign(folder)
    with pytest.raises(ModelFileError, match=message):
        LLMA.load(folder)


def test_an_interaction_out_of_the_catalog_is_refused(folder):
    catalog = json.loads((folder / "catalog.json").read_text())
    catalog["users"]["user_id"] = catalog["users"]["user_id"][:50]
    (folder / "catalog.json").write_text(json.dumps(catalog))
    _sign(folder)
    with pytest.raises(ModelFileError, match=r"119.*50"):
        LLMA.load(folder)


def test_a_write_that_is_cut_off_leaves_what_was_there(fitted, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "save_file", full)
    for target in (folder, folder.parent / "other"):
        with pytest.raises(ModelFileError, match="No space left"):
            fitted.save(target)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_rename_that_fails_puts_the_old_model_back(fitted, folder, monkeypatch):
    real, calls = os.replace, []

    def flaky(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(files.os, "replace", flaky)
    with pytest.raises(ModelFileError):
        fitted.save(folder)
    monkeypatch.undo()
    assert LLMA.load(folder).score_indices([0]).shape == (1, 84)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_model_replaces_a_model_and_nothing_else(fitted, folder, tmp_path):
    fitted.save(folder)
    other = tmp_path / "holiday"
    other.mkdir()
    (other / "photo.jpg").write_text("x")
    with pytest.raises(ModelFileError, match="holiday"):
        fitted.save(other)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="file"):
        fitted.save(tmp_path / "file")
    assert (other / "photo.jpg").read_text() == "x"


def test_not_fitted_and_not_there(tmp_path, small):
    with pytest.raises(NotFittedError):
        LLMA(small).save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="llmrec fit --out"):
        LLMA.load(tmp_path / "nowhere")
