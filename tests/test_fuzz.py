"""A few hundred damaged model folders and odd commands: no traceback, no hang, and nothing else than was written.

The judge is independent of the reader: a model that loads although its files were changed must give the lists that it
gave before, and a command ends with JSON that can be read or with one line and exit code 2.
"""

import contextlib
import io
import json
import os
import random
import shutil
import sys
import time

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from llmrec_lite import files
from llmrec_lite.cli import main as cli
from llmrec_lite.data import Dataset
from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.files import file_sha256
from llmrec_lite.llma import LLMA, storage
from llmrec_lite.llma.config import LLMAConfig

NAMES = (storage.MODEL, storage.ARRAYS, storage.CATALOG)
SECONDS = 20  # no try takes longer


def log(n_users=40, n_items=25, seed=5):
    rng = np.random.default_rng(seed)
    chosen = [(f"u{u}", f"i{i}") for u in range(n_users) for i in rng.choice(n_items, 9, replace=False)]
    return pd.DataFrame(chosen, columns=["user_id", "item_id"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = LLMA(LLMAConfig(encoder=None)).fit(Dataset.from_frames(log()))
    return model.save(tmp_path_factory.mktemp("fuzz") / "model")


def lists(model):
    items = [model.recommend([f"u{user}"], 5)["item_id"].tolist() for user in (0, 17, 39)]
    new = model.recommend_for(history=[("i3", 1.0), ("i4", 1.0)], k=5)["item_id"].tolist()
    return [*items, new]


def sign(folder):
    lines = [f"{file_sha256(folder / n)}  {n}\n" for n in NAMES if (folder / n).is_file()]
    (folder / files.SUMS).write_text("".join(lines))


# ---- damage of bytes and of files ----


def damage(folder, rng):
    """Change one file in some way."""
    path = folder / rng.choice([*NAMES, files.SUMS])
    content = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "cut", "swap", "empty", "gone", "longer", "folder", "pipe", "device", "dangling"])
    place = rng.randrange(len(content))
    match kind:
        case "flip":
            content[place] ^= 1 << rng.randrange(8)
        case "cut":
            del content[place:]
        case "empty":
            content.clear()
        case "longer":
            content[place:place] = rng.randbytes(rng.choice([1, 30, 5000]))
        case "swap":
            content = bytearray((folder / rng.choice(NAMES)).read_bytes())
        case _:
            path.unlink()
    if path.exists():
        path.write_bytes(content)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("device", "dangling"):
        path.symlink_to("/dev/zero" if kind == "device" else folder / "nowhere")
    return f"{kind} {path.name} {place}"


def places(node, path=()):
    """Paths to all values of a JSON document."""
    found = [path] if path else []
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        found += places(value, (*path, key))
    return found


ODD = (None, True, -1, 0, 10**30, -(10**400), 1e308, float("nan"), "", "x", "\ud800", [], {}, [[]], {"a": 1}, 0.5)


def edit(folder, rng):
    """Change a value of one of the JSON files, or remove it, or make it deep."""
    path = folder / rng.choice([storage.MODEL, storage.CATALOG])
    content = json.loads(path.read_text())
    where = rng.choice(places(content))
    holder = content
    for key in where[:-1]:
        holder = holder[key]
    what = rng.choice(["odd", "odd", "odd", "remove", "twice", "deep"])
    if what == "remove":
        del holder[where[-1]]
    elif what == "twice" and isinstance(holder, list):
        holder.append(holder[0])
    else:
        holder[where[-1]] = rng.choice(ODD)
    text = json.dumps(content)
    path.write_text(text.replace(json.dumps(holder[where[-1]]), "[" * 100_000, 1) if what == "deep" else text)
    return f"{what} {path.name} {where}"


def bend(folder, rng):
    """Change shape, type or numbers of an array."""
    from safetensors.numpy import load_file, save_file

    arrays = load_file(folder / storage.ARRAYS)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    what = rng.choice(["half", "axis", "float", "int", "nan", "inf", "gone", "huge", "empty", "more"])
    match what:
        case "half":
            array = array[: len(array) // 2]
        case "axis":
            array = array[None]
        case "float" | "int":
            array = array.astype(np.float16 if what == "float" else np.int8)
        case "nan" | "inf":
            array = array.astype(float)
            array.flat[rng.randrange(array.size)] = np.nan if what == "nan" else -np.inf
        case "huge":
            array = (array.astype(float) + 1) * 1e300
        case "empty":
            array = array[:0]
        case "more":
            array = np.concatenate([array, array])
    if what == "gone":
        del arrays[name]
    else:
        arrays[name] = np.ascontiguousarray(array)
    save_file(arrays, folder / storage.ARRAYS)
    return f"{what} {name}"


def attempt(folder, told):
    """Lists of the model, None where it is refused; anything else is a fault."""
    began, found, said = time.monotonic(), None, "a line"
    try:
        found = lists(LLMA.load(folder))
    except ModelFileError as error:
        said = str(error)
    except Exception as error:
        pytest.fail(f"{told}: {type(error).__name__}: {error}")
    assert len(said.splitlines()) == 1, told
    assert len(said) < 1500, told
    assert time.monotonic() - began < SECONDS, told
    return found


@pytest.mark.parametrize("part", range(4))
def test_a_damaged_model_is_refused_or_the_same(folder, tmp_path, part):
    before, accepted = lists(LLMA.load(folder)), 0
    for number in range(25):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        told = damage(copy, random.Random(100 * part + number))
        found = attempt(copy, told)
        assert found in (None, before), told
        accepted += found is not None
    assert accepted <= 5  # such as one more line in the check sums


@pytest.mark.parametrize("change", [damage, edit, bend])
@pytest.mark.parametrize("part", range(2))
def test_a_model_that_was_signed_anew_has_no_traceback(folder, tmp_path, change, part):
    for number in range(25):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        rng = random.Random(1000 * part + number)
        told = change(copy, rng)
        if not (copy / files.SUMS).is_dir() and not (copy / files.SUMS).is_fifo():
            (copy / files.SUMS).unlink(missing_ok=True)
            sign(copy)
        attempt(copy, told)


# ---- commands ----

WORDS = ["", " ", "u1", "u999", "i3", "item i3", "-1", "0", "3", "1000000000", "9" * 30, "nan", "a" * 300, "/dev/null",
         "/proc/self/mem", "..", ".", "\x1b[2J", "天", "\udcff", "[red]", "*", "Popularity", "EASE", "popularty",
         "random", "temporal", "LOG", "MODEL", "NOWHERE"]  # fmt: skip
OPTIONS = {
    "recommend": ["--user", "--likes", "--request", "-k", "--model", "--interactions", "--items", "--json"],
    "evaluate": ["--model", "--test", "--split", "-k", "--interactions", "--items", "--json"],
    "compare": ["--model", "--split", "-k", "--interactions", "--items"],
    "fit": ["--out", "--interactions", "--items", "--seed", "--invalid", "--order"],
    "adapt": ["--likes", "--dislikes", "--ask", "-k", "--interactions", "--json"],
    "fetch": ["--force"],
}
NEAR = {
    "recommend": ["--user", "u1", "--model", "Popularity", "--interactions", "LOG", "--json"],
    "evaluate": ["--model", "Popularity", "--split", "random", "--interactions", "LOG", "--json"],
    "compare": ["--model", "Popularity", "--split", "random", "--interactions", "LOG"],
    "fit": ["--interactions", "LOG", "--no-text", "--out", "/proc/no/model"],
}


def random_command(rng):
    command = rng.choice(sorted(OPTIONS))
    arguments = []
    for option in rng.choices(OPTIONS[command], k=rng.randrange(1, 5)):
        arguments += [option] if option in ("--json", "--force") else [option, rng.choice(WORDS)]
    # Nothing is fetched, and MovieLens not read: every command has a log.
    if command == "fetch":
        return [command, *arguments, "no such asset"]
    return [command, *arguments, *([] if "--interactions" in arguments else ["--interactions", "LOG"])]


def near_command(rng):
    command = rng.choice(sorted(NEAR))
    arguments = list(NEAR[command])
    place = rng.randrange(len(arguments))
    match rng.choice(["replace", "remove", "repeat", "add"]):
        case "replace":
            arguments[place] = rng.choice(WORDS)
        case "remove" if arguments[place] not in ("--interactions", "LOG"):
            del arguments[place]
        case "repeat":
            arguments[place:place] = arguments[place : place + 2]
        case _:
            arguments += [rng.choice(OPTIONS[command]), rng.choice(WORDS)]
    return [command, *arguments]


def run(arguments, monkeypatch):
    """Exit code and output of a command; anything but an exit is a fault."""
    monkeypatch.setattr(sys, "argv", ["llmrec", *arguments])
    out, error = io.StringIO(), io.StringIO()
    monkeypatch.setattr(cli, "screen", Console(file=out, width=120))
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException as problem:
            pytest.fail(f"{arguments}: {type(problem).__name__}: {problem}")
    return code, out.getvalue(), error.getvalue()


def _no_time(*arguments):
    raise SettingError("it takes a minute")


@pytest.mark.parametrize("make", [random_command, near_command])
def test_odd_commands_end_with_an_answer_or_one_line(folder, tmp_path, monkeypatch, make):
    log().to_csv(tmp_path / "log.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LLMA, "fit", _no_time)
    known = {"LOG": str(tmp_path / "log.csv"), "MODEL": str(folder), "NOWHERE": str(tmp_path / "nowhere.csv")}
    for number in range(75):
        arguments = [known.get(word, word) for word in make(random.Random(number))]
        if arguments[0] == "fit" and make is random_command:
            arguments += ["--out", "/proc/no/model"]
        if arguments[0] in ("adapt", "compare") or "--request" in arguments:
            arguments += ["--interactions", known["NOWHERE"]]  # without the minutes of their models
        began = time.monotonic()
        code, out, error = run(arguments, monkeypatch)
        assert time.monotonic() - began < SECONDS, arguments
        assert code in (0, 2), arguments
        assert "Traceback" not in error, arguments
        if code == 2:
            assert out == "" or arguments[0] == "fit", arguments  # which tells what it begins
            assert error.startswith("llmrec: ") or "Usage" in error, arguments
        elif "--json" in arguments:
            json.loads(out)
        assert "\x1b[2J" not in out + error, arguments
