"""Files and folders that are whole or not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmrec_lite.files import (
    SUMS,
    atomic_file,
    atomic_folder,
    damage,
    file_sha256,
    recover,
    remove_unfinished,
    unfinished_names,
    write_json,
)

ROOT = Path(__file__).resolve().parents[1]


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


# ---- several writers, and writers that are killed ----

WRITER = """
import os, sys, time
from pathlib import Path
from llmrec_lite import files
path, moment = Path(sys.argv[1]), sys.argv[2]
real, calls = os.replace, []
def replace(source, target):
    calls.append(target)
    if moment == str(len(calls)):
        os.kill(os.getpid(), 9)
    real(source, target)
files.os.replace = replace
for turn in range(int(sys.argv[3])):
    with files.atomic_folder(path) as part:
        (part / "a").write_text(str(os.getpid()))
        if moment == "inside":
            os.kill(os.getpid(), 9)
        (part / "b").write_text(str(os.getpid()))
"""


def writer(path, moment="never", turns=1):
    command = [sys.executable, "-c", WRITER, str(path), moment, str(turns)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_writers_at_one_path_take_turns(tmp_path):
    path = tmp_path / "model"
    writers = [writer(path, turns=25) for _ in range(3)]
    said = [process.communicate()[1] for process in writers]
    assert [process.returncode for process in writers] == [0, 0, 0], said
    assert damage(path, ["a", "b"]) is None
    assert (path / "a").read_text() == (path / "b").read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("moment", ["inside", "1", "2"])
def test_a_writer_that_is_killed_costs_nothing(tmp_path, moment):
    path = tmp_path / "model"
    with atomic_folder(path) as part:
        (part / "a").write_text("old")
    process = writer(path, moment)
    process.communicate()
    assert process.returncode == -9
    assert path.exists() == (moment != "2")  # between the two renames
    recover(path)
    assert damage(path, ["a"]) is None
    assert (path / "a").read_text() == "old"
    remove_unfinished(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_the_next_writer_cleans_up(tmp_path):
    path = tmp_path / "model"
    for _ in range(2):
        writer(path, "1").communicate()
    assert len(list(tmp_path.iterdir())) > 1
    assert unfinished_names(tmp_path) == {"model"}
    with atomic_folder(path) as part:
        (part / "a").write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_what_is_written_now_and_what_is_of_others_is_left_alone(tmp_path):
    own = tmp_path / ".model.abcdefgh.part"  # by its name one of ours, and not by what it holds
    own.mkdir()
    (own / "photo.jpg").write_text("x")
    (tmp_path / ".model.v2.abcdefgh.part").mkdir()
    with atomic_folder(tmp_path / "model.v2") as part:
        (part / "a").write_text("v2")
        for path in ("model", "model.v2"):
            remove_unfinished(tmp_path / path)
        (part / "b").write_text("v2")
    assert (own / "photo.jpg").exists()
    writer(tmp_path / "model.v2", "1").communicate()
    before = sorted(file.name for file in tmp_path.iterdir())
    remove_unfinished(tmp_path / "model")
    assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with atomic_folder(link) as part:
        (part / "a").write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "a").read_text() == "new"


def test_a_library_that_fails_to_write_is_an_error_of_the_system(tmp_path):
    # Of a limit, as of a full disk, safetensors and others make exceptions of their own.
    script = (
        "import resource, sys, numpy as np\n"
        "from safetensors.numpy import save_file\n"
        "from llmrec_lite.files import atomic_file, atomic_folder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n"
        "for make, name in ((atomic_file, ''), (atomic_folder, 'x')):\n"
        "    try:\n"
        "        with make(sys.argv[1] + name) as part:\n"
        "            save_file({'a': np.ones(10000)}, part / name if name else part)\n"
        "    except OSError as error:\n"
        "        print('told')\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout, done.returncode) == ("told\ntold\n", 0), done.stderr
    assert list(tmp_path.iterdir()) == []


# ---- what is not what it seems ----


@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "folder", "dangling"])
def test_check_sums_that_are_no_file_are_not_waited_for(tmp_path, kind):
    sums = tmp_path / SUMS
    if kind == "pipe":
        os.mkfifo(sums)
    elif kind == "huge":
        with sums.open("wb") as stream:
            stream.truncate(6 << 30)
    elif kind == "folder":
        sums.mkdir()
    else:
        sums.symlink_to("/dev/zero" if kind == "device" else tmp_path / "nowhere")
    assert str(sums) in (damage(tmp_path, []) or "")


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
