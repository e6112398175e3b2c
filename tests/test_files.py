"""Files and folders that are whole or not there."""

import json

import numpy as np
import pytest

from llmrec_lite.files import SUMS, atomic_file, atomic_folder, damage, file_sha256, remove_unfinished, write_json


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with atomic_file(path) as part:
        part.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as part:
        part.write_text(str(1 // 0))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    for content in ("old", "new"):
        with atomic_folder(path) as part:
            (part / content).write_text(content)
    assert sorted(file.name for file in path.iterdir()) == [SUMS, "new"]
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as part:
        (part / "half").write_text(str(1 // 0))
    assert (path / "new").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_damage_names_the_file(tmp_path):
    path = tmp_path / "model"
    with atomic_folder(path) as part:
        (part / "weights").write_bytes(b"12")
    assert damage(path, ["weights"]) is None
    assert str(path / "other") in (damage(path, ["other"]) or "")
    (path / "weights").write_bytes(b"13")
    assert str(path / "weights") in (damage(path, ["weights"]) or "")
    (path / SUMS).unlink()
    assert SUMS in (damage(path, ["weights"]) or "")


def test_what_a_killed_process_left_is_removed_and_nothing_of_others(tmp_path):
    for name in (".model.1.part", ".other.1.part", "model"):
        (tmp_path / name).write_text("")
    (tmp_path / ".model.2.part").mkdir()
    remove_unfinished(tmp_path / "model")
    assert {file.name for file in tmp_path.iterdir()} == {".other.1.part", "model"}


def test_json_of_numpy_and_a_checksum(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"n": np.int64(3), "x": np.array([0.5, 1.5])})
    assert json.loads(path.read_text()) == {"n": 3, "x": [0.5, 1.5]}
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_json(path, {"bad": object()})
    assert path.read_bytes() == before
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180-4
    assert file_sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea")
