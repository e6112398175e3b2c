"""LLMA on disk: the same after loading, whole or not at all, and refused when it is not what was written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import NotFittedError

from llmrec_lite import files
from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.files import file_sha256
from llmrec_lite.llma import LLMA, cold_start, storage

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


def test_a_disk_that_is_full_is_one_line_and_the_old_model_stays(folder):
    """A real limit, under which the libraries raise exceptions of their own."""
    script = (
        "import resource, sys\n"
        "from llmrec_lite.errors import ModelFileError\n"
        "from llmrec_lite.llma import LLMA\n"
        "model = LLMA.load(sys.argv[1])\n"
        "for size in map(int, sys.argv[2:]):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n"
        "    try:\n"
        "        model.save(sys.argv[1])\n"
        "    except ModelFileError as error:\n"
        "        print(len(str(error).splitlines()))\n"
    )
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    sizes = sorted(len(content) - 1 for content in before.values())
    command = [sys.executable, "-c", script, str(folder), *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1"] * len(sizes), done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_target_that_cannot_be_is_refused_before_the_work(fitted, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    for target in (".", "..", "/proc/no/model", "file/model", "loop", "a" * 300, "/"):
        with pytest.raises(ModelFileError):
            storage.check_target(Path(target))
        with pytest.raises(ModelFileError):
            fitted.save(target)
    (folder.parent / "link").symlink_to(folder)
    storage.check_target(folder.parent / "link")
    fitted.save(folder.parent / "link")
    assert (folder.parent / "link").is_symlink()
    assert LLMA.load(folder.parent / "link").train_.n_users == 120
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "loop", "model"]


def test_a_model_between_two_renames_is_found_again(folder):
    left = folder.parent / ".model.abcdefgh.part"
    left.mkdir()
    (left / files.MARK).touch()
    folder.rename(left / "old")
    assert LLMA.load(folder).train_.n_users == 120
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_model_is_read_while_another_process_replaces_it(folder):
    script = "import sys; from llmrec_lite.llma import LLMA; m = LLMA.load(sys.argv[1]); print('on', flush=True)\n"
    script += "for _ in range(60): m.save(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
    process.stdout.readline()
    reads = 0
    while process.poll() is None:
        assert LLMA.load(folder).train_.n_users == 120
        reads += 1
    assert reads
    assert process.returncode == 0


# ---- what is signed and wrong ----


def _arrays(name, change):
    def changed(folder):
        arrays = load_file(folder / storage.ARRAYS)
        arrays[name] = np.ascontiguousarray(change(arrays[name]))
        save_file(arrays, folder / storage.ARRAYS)

    return changed


def _json(file, change):
    def changed(folder):
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return changed


def _cold(change):
    return _json(storage.MODEL, lambda content: change(content["cold_start"]))


def _text(file, text):
    return lambda folder: (folder / file).write_text(text)


def _special(file, make):
    def changed(folder):
        (folder / file).unlink()
        make(folder / file)

    return changed


def _nan(array):
    array[-1] = np.nan
    return array


WRONG = {
    "cut": lambda folder: os.truncate(folder / storage.ARRAYS, 500),
    "nested model": _text(storage.MODEL, "[" * 200_000),
    "nested catalog": _text(storage.CATALOG, '{"items":' * 200_000),
    "half the items": _arrays("factors.item_", lambda a: a[: len(a) // 2]),
    "half the users": _arrays("factors.user_", lambda a: a[: len(a) // 2]),
    "fewer factors": _arrays("factors.user_", lambda a: a[:, :-1]),
    "pairs of half the items": _arrays("autoencoder.weights_", lambda a: a[: len(a) // 2]),
    "not finite": _arrays("factors.item_", _nan),
    "one more axis": _arrays("text_vectors", lambda a: a[None]),
    "an index of floats": _arrays("user_index", lambda a: a.astype(float)),
    "a short rating": _arrays("rating", lambda a: a[:-1]),
    "a rating of complex numbers": _arrays("rating", lambda a: a.astype(np.complex64)),
    "a year of thirty digits": _json(storage.CATALOG, lambda c: c["items"]["year"].__setitem__(0, 10**30)),
    "one user twice": _json(storage.CATALOG, lambda c: c["users"]["user_id"].__setitem__(0, "u1")),
    "one item twice": _json(storage.CATALOG, lambda c: c["items"]["item_id"].__setitem__(0, 1)),
    "an id that is a list": _json(storage.CATALOG, lambda c: c["items"]["item_id"].__setitem__(0, [1])),
    "an id without digits": _json(storage.CATALOG, lambda c: c["items"]["item_id"].__setitem__(0, None)),
    "a text that is a number": _json(storage.CATALOG, lambda c: c["items"]["text"].__setitem__(0, 7)),
    "a title less": _json(storage.CATALOG, lambda c: c["items"]["title"].pop()),
    "a catalog that is a list": _text(storage.CATALOG, "[]"),
    "30,000 factors": _json(storage.MODEL, lambda c: c["config"].update(factors=30_000)),
    "a text as factors": _json(storage.MODEL, lambda c: c["config"].update(factors="64")),
    "a huge seed": _json(storage.MODEL, lambda c: c["config"].update(seed=-(10**400))),
    "a weight that is none": _json(storage.MODEL, lambda c: c["gate"]["known"].update(factors="much")),
    "a weight too few": _json(storage.MODEL, lambda c: c["gate"]["known"].pop("factors")),
    "a cold start of three": _json(storage.MODEL, lambda c: c["cold_start"]["weights"].update({"3": {"x": 1.0}})),
    "attention of five numbers": _cold(lambda c: c["attention"]["3"][0]["attention"].pop()),
    "attention that is endless": _cold(lambda c: c["attention"]["3"][0]["attention"].__setitem__(0, float("inf"))),
    "attention that is text": _cold(lambda c: c["attention"]["3"][0]["weights"].__setitem__(0, "1.0")),
    "attention that is no record": _cold(lambda c: c["attention"]["3"].__setitem__(0, [1.0])),
    "a third fold": _cold(lambda c: c["attention"]["3"].append(c["attention"]["3"][0])),
    "attention that is asked for and gone": _cold(lambda c: c["attention"].pop("3")),
    "attention without weights": _cold(lambda c: c["weights"].pop("3")),
    "no weights": _cold(lambda c: c["weights"].update({"3": {}})),
    "weights of a thousand": _cold(lambda c: c["weights"]["3"].update(popularity=1000.0)),
    "weights for four": _cold(lambda c: c["weights"].update({"4": c["weights"]["3"]})),
    "a dropout of one": _cold(lambda c: c["attention"]["3"][0]["autoencoder"].__setitem__(0, 1.0)),
    "no penalty": _cold(lambda c: c["attention"]["3"][0]["autoencoder"].__setitem__(1, 0.0)),
    "a ridge below zero": _cold(lambda c: c["attention"]["3"][0].update(ridge=-30.0)),
    "half the solution": _arrays("text.solution_", lambda a: a[:, : a.shape[1] // 2]),
    "an endless number": _json(storage.MODEL, lambda c: c["gate"]["known"].update(factors=float("nan"))),
    "digits": _text(storage.MODEL, '{"format": ' + "9" * 5000 + ', "kind": "LLMA", "config": {}}'),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_signed_and_wrong_is_one_error_in_a_line(folder, kind):
    WRONG[kind](folder)
    _sign(folder)
    with pytest.raises(ModelFileError) as caught:
        LLMA.load(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


def test_a_known_user_waits_for_no_attention(folder, monkeypatch):
    def made(*arguments):
        raise AssertionError("attention was made")

    loaded = LLMA.load(folder)
    monkeypatch.setattr(cold_start, "fit_autoencoders", made)
    active = int(np.diff(loaded.matrix_.indptr).argmax())
    assert len(loaded.recommend_for(loaded.train_.users["user_id"].iloc[active], k=3)) == 3


def test_a_fault_that_only_attention_finds_is_the_file_s(folder, monkeypatch):
    def fails(*arguments):
        raise np.linalg.LinAlgError("Singular matrix")

    loaded = LLMA.load(folder)
    monkeypatch.setattr(cold_start, "fit_autoencoders", fails)
    with pytest.raises(ModelFileError, match="Singular"):
        loaded.recommend_for(history=HISTORY)
    monkeypatch.undo()
    assert len(loaded.recommend_for(history=HISTORY, k=3)) == 3


def test_attention_that_is_no_number_is_the_file_s(folder, monkeypatch):
    loaded = LLMA.load(folder)
    monkeypatch.setattr(cold_start.ColdStartRanker, "predict", lambda *_: np.full((1, 84), np.nan))
    with pytest.raises(ModelFileError, match="finite"):
        loaded.recommend_for(history=HISTORY)


def test_attention_needs_users_to_attend_to(folder):
    """A signed model whose users have one interaction each, and attention for twenty."""
    arrays = load_file(folder / storage.ARRAYS)
    arrays["user_index"] = np.minimum(np.arange(len(arrays["user_index"])), 119)
    save_file(arrays, folder / storage.ARRAYS)
    _sign(folder)
    with pytest.raises(ModelFileError, match="two users"):
        LLMA.load(folder)


def test_arrays_are_those_of_safetensors_whatever_their_types(tmp_path):
    rng = np.random.default_rng(0)
    types = ("bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64")
    arrays = {name: rng.integers(0, 2, (3, 5)).astype(name) for name in types}
    arrays |= {"none": np.zeros((0, 4)), "scalar": np.array(7.0, np.float32)}
    save_file(arrays, tmp_path / "a", metadata={"of": "a test"})
    found, expected = storage.mapped_arrays(tmp_path / "a"), load_file(tmp_path / "a")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
    found["float64"][0] = 9
    np.testing.assert_array_equal(load_file(tmp_path / "a")["float64"], arrays["float64"])


@pytest.mark.parametrize("name", [storage.MODEL, storage.ARRAYS, storage.CATALOG, files.SUMS])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_file_is_not_waited_for(folder, name, make):
    _special(name, make)(folder)
    with pytest.raises(ModelFileError):
        LLMA.load(folder)


def test_what_a_model_names_is_not_fetched(folder, monkeypatch, reads_kinds):
    import huggingface_hub

    def fetched(*arguments, **options):
        raise AssertionError("it was fetched")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    for name in ("evil/repo", "/etc"):
        _json(storage.MODEL, lambda c, name=name: c.update(encoder_given=False) or c["config"].update(encoder=name))(
            folder
        )
        _sign(folder)
        with pytest.raises(SettingError, match="encoder"):
            LLMA.load(folder).score_request("love")
        assert LLMA.load(folder, encoder=reads_kinds()).score_request("love").shape == (84,)


def test_a_list_of_a_thousand_million_is_one_of_all_items(folder):
    _json(storage.MODEL, lambda c: c["config"].update(candidates=300_000_000))(folder)
    _sign(folder)
    assert len(LLMA.load(folder).recommend_for("u5", k=3)) == 3


def test_not_fitted_and_not_there(tmp_path, small):
    with pytest.raises(NotFittedError):
        LLMA(small).save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="llmrec fit --out"):
        LLMA.load(tmp_path / "nowhere")
