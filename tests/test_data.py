"""Data sets: pointers, verifying and fetching, on tiny sets made here, without network."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shlex
import tarfile
import threading
from pathlib import Path

import pooch
import pytest
import requests
import yaml

from repro.data import _sources
from repro.data import fetch as fetching
from repro.data.fetch import data_md5, fetch, require, verify
from repro.data.pointers import dir_md5, file_md5, find_root, get_pointer, listing_md5, read_pointers
from repro.errors import DataCorrupt, DataUnavailable, ReproError

PROJECT = Path(__file__).resolve().parents[1]
URL = "https://example.invalid/set/"
FILES = {"a.txt": b"alpha", "sub/b.bin": bytes(range(256)), "z.txt": b""}


class Web:
    """Stands in for pooch's downloader: serves `pages`, is offline otherwise and for the next `failures`."""

    pages: dict[str, bytes] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012
    failures = 0

    def __init__(self, timeout: tuple[int, int], progressbar: bool) -> None:
        assert timeout[0] <= 10, "an offline user must be told quickly"

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        Web.asked.append(url)
        if Web.failures or url not in Web.pages:
            Web.failures = max(0, Web.failures - 1)
            raise requests.ConnectionError("Pool: gave up (Caused by NameError(<C at 0x1>: 'no such host'))")
        Path(output_file).write_bytes(Web.pages[url])


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and neither the user's environment nor the user's DVC configuration and caches."""
    for name in (_sources.REMOTE_VARIABLE, "REPRO_ROOT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SITE_CACHE_DIR", "GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR"):
        monkeypatch.setenv(f"DVC_{name}", str(tmp_path / "dvc" / name))
    monkeypatch.setattr(pooch, "HTTPDownloader", Web)
    Web.pages, Web.asked, Web.failures = {}, [], 0
    fetching._verified.clear()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def make_project(
    root: Path, files: dict[str, bytes] = FILES, name: str = "tiny", dvc: bool = False, **each: str
) -> Path:
    """A project with `data/NAME.dvc`, no data; `each` goes into every file's entry, {} being its path."""
    entries = [
        {"path": path, "md5": md5(content)} | {key: value.format(path) for key, value in each.items()}
        for path, content in sorted(files.items())
    ]
    out = {"md5": listing_md5((e["path"], e["md5"]) for e in entries), "hash": "md5", "path": name}
    meta = {"files": entries, "sources": [{"url": URL, "note": "its home"}], "licence": "none stated"}
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data" / f"{name}.dvc").write_text(yaml.safe_dump({"outs": [out], "meta": meta}))
    if dvc:
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    return root


def put(root: Path, files: dict[str, bytes] = FILES, name: str = "tiny") -> Path:
    for path, content in files.items():
        place = root / "data" / name / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return root / "data" / name


def make_remote(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    """A DVC remote that holds `files` as one folder."""
    listing = "[" + ", ".join(
        f'{{"md5": "{md5(content)}", "relpath": "{path}"}}' for path, content in sorted(files.items())
    )
    whole = (listing + "]").encode()
    for name, content in [(md5(whole) + ".dir", whole), *((md5(c), c) for c in files.values())]:
        place = folder / "files" / "md5" / name[:2] / name[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def tiny(root: Path):
    return get_pointer("tiny", root)


def on_disk(root: Path, name: str = "tiny") -> dict[str, bytes]:
    folder = root / "data" / name
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Pointers


def test_folder_md5_is_the_one_dvc_states(tmp_path: Path) -> None:
    root = make_project(tmp_path)
    folder = put(root)
    (folder / "a.txt.corrupt").write_bytes(b"moved aside: no part of the set")
    assert dir_md5(folder) == tiny(root).md5 == data_md5("tiny", root)
    (folder / "more").write_bytes(b"")
    assert dir_md5(folder) != tiny(root).md5


def test_committed_pointers_are_consistent_and_complete() -> None:
    pointers = read_pointers(PROJECT)  # reading checks that the files add up to the folder's md5
    assert {"planetoid", "mnist", "cifar10", "nell", "zinc12k", "ppi_structure"} <= set(pointers)
    for pointer in pointers.values():
        assert pointer.files, pointer.name
        assert pointer.sources, pointer.name
        assert pointer.licence != "not stated", pointer.name
        assert pointer.description, pointer.name
    assert all(file.url for name in ("planetoid", "mnist") for file in pointers[name].files)
    assert all(file.archive == "gzip" for file in pointers["mnist"].files)
    assert all(file.archive == "tar" and file.member for file in pointers["cifar10"].files)


def test_pointer_whose_files_do_not_add_up_is_refused(tmp_path: Path) -> None:
    root = make_project(tmp_path)
    file = root / "data" / "tiny.dvc"
    file.write_text(file.read_text().replace(md5(b"alpha"), md5(b"beta")))
    with pytest.raises(ReproError, match=r"tiny\.dvc: meta\.files add up to"):
        tiny(root)


@pytest.mark.parametrize("path", ["../out", "/etc/x", "a/../../b", "a//b", ".", "a\\b"])
def test_pointer_cannot_leave_its_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(ReproError, match="plain path"):
        tiny(make_project(tmp_path, {path: b"x"}))


@pytest.mark.parametrize("text", ["", "[]", "outs: []", "outs: [{md5: zz, path: p}]", "outs: [", "outs: 3"])
def test_malformed_pointer_is_named(tmp_path: Path, text: str) -> None:
    root = make_project(tmp_path)
    (root / "data" / "tiny.dvc").write_text(text)
    with pytest.raises(ReproError, match=r"tiny\.dvc"):
        tiny(root)


def test_unknown_set_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match="Known: tiny"):
        get_pointer("tinny", make_project(tmp_path))


def test_root_is_found_from_below_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "project")
    below = root / "papers" / "gcn"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_root() == root.resolve()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReproError, match="REPRO_ROOT"):
        find_root()
    monkeypatch.setenv("REPRO_ROOT", str(root))
    assert find_root() == root.resolve()
    monkeypatch.setenv("REPRO_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(ReproError, match="nowhere"):
        find_root()


# Verifying


def test_verify_tells_present_missing_and_corrupt_apart(tmp_path: Path) -> None:
    root = make_project(tmp_path)
    assert verify(tiny(root)).state == "missing"
    folder = put(root)
    assert verify(tiny(root)).ok
    (folder / "a.txt").unlink()
    status = verify(tiny(root))
    assert (status.state, status.missing) == ("missing", (folder.resolve() / "a.txt",))
    (folder / "sub" / "b.bin").write_bytes(b"short")
    status = verify(tiny(root))
    assert status.state == "corrupt"
    assert (status.wrong[0].expected, status.wrong[0].found) == (md5(FILES["sub/b.bin"]), md5(b"short"))


def test_require_names_files_sources_and_command(tmp_path: Path) -> None:
    root = make_project(tmp_path)
    with pytest.raises(DataUnavailable, match=r"(?s)a\.txt.*its home.*repro data fetch tiny"):
        require("tiny", root)
    folder = put(root)
    assert require("tiny", root) == folder.resolve()
    (folder / "a.txt").write_bytes(b"alphA")
    with pytest.raises(DataCorrupt) as caught:
        require("tiny", root)
    for part in ("a.txt", md5(b"alpha"), md5(b"alphA"), "repro data fetch tiny"):
        assert part in str(caught.value)


def test_require_reads_the_bytes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path)
    put(root)
    require("tiny", root)
    monkeypatch.setattr(fetching, "verify", None)  # calling it would fail
    require("tiny", root)


# Fetching through DVC


@pytest.mark.parametrize("dvc", [True, False], ids=["with .dvc", "without .dvc"])
def test_fetch_from_the_remote_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dvc: bool
) -> None:
    root = make_project(tmp_path / "project", dvc=dvc, url=URL + "{}")
    monkeypatch.setenv(_sources.REMOTE_VARIABLE, str(make_remote(tmp_path / "remote")))
    steps: list[str] = []
    status = fetch(tiny(root), root, steps.append)
    assert status.state == "fetched", status
    assert on_disk(root) == FILES
    assert any("asking DVC remote" in step for step in steps)
    assert not Web.asked
    assert fetch(tiny(root), root).state == "present"
    if dvc:
        assert (root / ".dvc" / "config").read_text() == "[core]\n    analytics = false\n"
        assert not (root / ".dvc" / "config.local").exists()
    else:
        assert not (root / ".dvc").exists()


def test_remote_folder_is_relative_to_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "project", dvc=True)
    make_remote(tmp_path / "remote")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(_sources.REMOTE_VARIABLE, "remote")
    assert fetch(tiny(root), root).state == "fetched"


def test_fetch_from_the_default_remote(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project", dvc=True)
    remote = make_remote(tmp_path / "remote")
    (root / ".dvc" / "config").write_text(
        f"[core]\n    remote = ours\n['remote \"ours\"']\n    url = {remote}\n"
    )
    assert fetch(tiny(root), root).state == "fetched"


def test_pointer_as_dvc_add_makes_it_is_fetched_and_checked_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "project", dvc=True)
    file = root / "data" / "tiny.dvc"
    file.write_text(yaml.safe_dump({"outs": yaml.safe_load(file.read_text())["outs"]}))
    assert fetch(tiny(root), root).state == "missing"
    monkeypatch.setenv(_sources.REMOTE_VARIABLE, str(make_remote(tmp_path / "remote")))
    assert fetch(tiny(root), root).state == "fetched"
    (require("tiny", root) / "a.txt").write_bytes(b"other")
    assert verify(tiny(root)).state == "corrupt"
    assert fetch(tiny(root), root).state == "fetched"
    assert on_disk(root) == FILES
    assert on_disk(root, "tiny.corrupt")["a.txt"] == b"other"


def test_altered_object_in_a_remote_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path / "project", dvc=True)
    remote = make_remote(tmp_path / "remote")
    name = md5(b"alpha")
    (remote / "files" / "md5" / name[:2] / name[2:]).write_bytes(b"alpha and more")
    monkeypatch.setenv(_sources.REMOTE_VARIABLE, str(remote))
    status = fetch(tiny(root), root)
    assert status.state == "missing"
    assert "a.txt" not in on_disk(root)
    assert "a.txt" in str(status)
    make_remote(remote)  # once the remote is mended, nothing bad has stuck in DVC's cache
    assert fetch(tiny(root), root).state == "fetched"


def test_damaged_object_in_the_cache_does_not_stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path / "project", dvc=True)
    monkeypatch.setenv(_sources.REMOTE_VARIABLE, str(make_remote(tmp_path / "remote")))
    fetch(tiny(root), root)
    name = md5(b"alpha")
    cached = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    cached.chmod(0o644)
    cached.write_bytes(b"rotten")
    cached.chmod(0o444)  # DVC trusts what is write-protected
    before = (root / "data" / "tiny" / "z.txt").stat().st_mtime_ns
    (root / "data" / "tiny" / "a.txt").unlink()
    assert fetch(tiny(root), root).state == "fetched"
    assert on_disk(root) == FILES
    assert (root / "data" / "tiny" / "z.txt").stat().st_mtime_ns == before, "what was right is left alone"


def test_remote_that_lacks_the_set_or_is_no_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "project", dvc=True)
    for remote in (tmp_path / "empty", tmp_path / "nowhere"):
        monkeypatch.setenv(_sources.REMOTE_VARIABLE, str(remote))
        (tmp_path / "empty").mkdir(exist_ok=True)
        status = fetch(tiny(root), root)
        assert status.state == "missing"
        assert str(remote) in status.detail[0]
    assert "no such folder" in status.detail[0]


# Fetching from canonical URLs


@pytest.mark.parametrize("archive", [None, "gzip"])
def test_fetch_from_canonical_urls(tmp_path: Path, archive: str | None) -> None:
    each = {"url": URL + "{}"} | ({"archive": archive} if archive else {})
    root = make_project(tmp_path, dvc=True, **each)
    Web.pages = {URL + p: gzip.compress(c) if archive else c for p, c in FILES.items()}
    Web.failures = 1  # the connection drops once
    assert fetch(tiny(root), root).state == "fetched"
    assert on_disk(root) == FILES
    Web.pages = {}
    (root / "data" / "tiny" / "a.txt").unlink()
    assert fetch(tiny(root), root).state == "fetched", "what was downloaded is in DVC's cache"


def test_offline_is_told_quickly_with_the_sources_tried(tmp_path: Path) -> None:
    root = make_project(tmp_path, url=URL + "{}")
    status = fetch(tiny(root), root)
    assert status.state == "missing"
    assert Web.asked == [URL + "a.txt"] * 2, "two tries of one file, not of each"
    assert any(_sources.REMOTE_VARIABLE in line for line in status.detail)
    assert any(URL + "a.txt" in line and "no such host" in line for line in status.detail)
    assert not (root / "data" / "tiny").exists()


def test_set_without_canonical_bytes_names_its_homes(tmp_path: Path) -> None:
    status = fetch(tiny(make_project(tmp_path)), tmp_path)
    assert status.state == "missing"
    assert not Web.asked
    assert f"{URL} (its home)" in status.detail[-1]


@pytest.mark.parametrize("bad", [b"alpha2", b"", b"<html>moved</html>"])
def test_altered_download_is_refused_with_both_md5s(tmp_path: Path, bad: bytes) -> None:
    root = make_project(tmp_path, url=URL + "{}")
    Web.pages = {URL + path: content for path, content in FILES.items()} | {URL + "a.txt": bad}
    status = fetch(tiny(root), root)
    assert status.state == "missing"
    assert "a.txt" not in on_disk(root)
    assert all(part in status.detail[-1] for part in (URL + "a.txt", md5(b"alpha"), md5(bad)))


# Named: a gzip header holds the time, and workers that collect at different seconds must agree on the names.
@pytest.mark.parametrize(
    "bad",
    [b"not gzip", gzip.compress(b"alpha")[:-3], gzip.compress(b"alpha")[:12]],
    ids=["no archive", "cut short", "cut after its header"],
)
def test_broken_archive_is_refused(tmp_path: Path, bad: bytes) -> None:
    root = make_project(tmp_path, {"a.txt": b"alpha"}, url=URL + "{}", archive="gzip")
    Web.pages = {URL + "a.txt": bad}
    status = fetch(tiny(root), root)
    assert status.state == "missing"
    assert "not a readable gzip file" in status.detail[-1]
    assert on_disk(root) == {}


def archive_of(members: dict[str, bytes]) -> bytes:
    """A tar archive, gzipped, as one URL with several files of a set."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_files_of_one_archive_are_fetched_with_one_download(tmp_path: Path) -> None:
    root = make_project(tmp_path, url=URL + "set.tar.gz", archive="tar", member="inside/{}")
    Web.pages = {
        URL + "set.tar.gz": archive_of({f"inside/{path}": content for path, content in FILES.items()})
    }
    assert fetch(tiny(root), root).state == "fetched"
    assert on_disk(root) == FILES
    assert Web.asked == [URL + "set.tar.gz"]


@pytest.mark.parametrize(
    "bad",
    [b"no archive", archive_of({"inside/b.txt": b"alpha"}), archive_of({"inside/a.txt": b"alpha"})[:60]],
    ids=["no archive", "another file", "cut short"],
)
def test_archive_without_the_file_or_cut_short_is_refused(tmp_path: Path, bad: bytes) -> None:
    root = make_project(
        tmp_path, {"a.txt": b"alpha"}, url=URL + "set.tar.gz", archive="tar", member="inside/{}"
    )
    Web.pages = {URL + "set.tar.gz": bad}
    status = fetch(tiny(root), root)
    assert status.state == "missing"
    assert "set.tar.gz: no readable inside/a.txt in it" in status.detail[-1]
    assert on_disk(root) == {}


# Sets that a stage makes


def make_stage(root: Path, program: str, files: dict[str, bytes] = FILES) -> Path:
    """A project whose stage of dvc.yaml makes `data/tiny` by a line of Python, as dvc.lock states it."""
    make_project(root, name="other")
    listing = listing_md5((path, md5(content)) for path, content in files.items())
    outs = [{"path": "data/tiny", "hash": "md5", "md5": listing, "nfiles": len(files)}]
    stage = {"cmd": shlex.join(["python", "-c", program]), "outs": outs}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"make": stage}}))
    return root


WRITE = """
from pathlib import Path
for path, content in {}.items():
    place = Path("data/tiny", path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
"""


def test_generated_set_is_made_by_its_stage(tmp_path: Path) -> None:
    root = make_stage(tmp_path, WRITE.format(FILES))
    with pytest.raises(DataUnavailable, match=r"repro data fetch tiny \(runs python -c"):
        require("tiny", root)
    assert fetch(tiny(root), root).state == "fetched"
    assert on_disk(root) == FILES
    assert require("tiny", root) == root / "data" / "tiny"
    assert data_md5("tiny", root) == dir_md5(root / "data" / "tiny")
    (root / "data" / "tiny" / "a.txt").write_bytes(b"beta")
    with pytest.raises(DataCorrupt):
        require("tiny", root)
    assert fetch(tiny(root), root).ok, "what is damaged is moved aside and made again"
    assert on_disk(root) == FILES


def test_stage_that_makes_other_bytes_or_fails_is_refused(tmp_path: Path) -> None:
    root = make_stage(tmp_path, WRITE.format({**FILES, "a.txt": b"beta"}))
    for _ in range(2):
        status = fetch(tiny(root), root)
        assert status.state == "corrupt"
        assert tiny(root).md5 in str(status)
        assert [p.name for p in (root / "data").glob("tiny*")] == [], (
            "nobody's work is left behind, nor grows"
        )
    status = fetch(tiny(make_stage(tmp_path / "second", "raise SystemExit('no paper')")), tmp_path / "second")
    assert status.state == "missing"
    assert "exit 1: no paper" in status.detail[-1]


def test_the_lock_names_the_generators_that_are_here() -> None:
    """Else a set of other code would pass for today's. After a change: `dvc repro`, or `dvc commit` of equal bytes."""
    root = Path(__file__).resolve().parents[1]
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]

    def md5_of(place: Path) -> str:
        if place.is_file():
            return file_md5(place)
        return listing_md5((str(p.relative_to(place)), file_md5(p)) for p in place.rglob("*.py"))

    deps = [(name, dep) for name, stage in stages.items() for dep in stage["deps"]]
    assert len(deps) >= len(stages) > 1
    assert [(name, dep["path"]) for name, dep in deps if dep["md5"] != md5_of(root / dep["path"])] == []


def test_a_pointers_free_part_names_no_command(tmp_path: Path) -> None:
    """`meta` is anybody's, and nothing written there is run."""
    root = make_project(tmp_path)
    file = root / "data" / "tiny.dvc"
    content = yaml.safe_load(file.read_text())
    content.setdefault("meta", {})["command"] = "touch ran"
    file.write_text(yaml.safe_dump(content))
    assert tiny(root).command == ""
    assert not fetch(tiny(root), root).ok
    assert not (root / "ran").exists()


def test_a_file_that_cannot_be_read_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_stage(tmp_path, WRITE.format(FILES))
    assert fetch(tiny(root), root).ok

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "a.txt")

    monkeypatch.setattr("repro.data.fetch.dir_md5", refuse)
    monkeypatch.setattr("repro.data.fetch.file_md5", refuse)
    status = verify(tiny(root))
    assert (status.state, status.detail) == ("missing", ("a.txt: cannot be read (Permission denied)",))


def test_malformed_lock_is_named(tmp_path: Path) -> None:
    root = make_stage(tmp_path, "")
    (root / "dvc.lock").write_text("stages: {make: {outs: [{path: data/tiny}]}}")
    with pytest.raises(ReproError, match=r"dvc\.lock: not DVC's lock file"):
        tiny(root)


def test_corrupt_file_is_moved_aside_reported_and_fetched_again(tmp_path: Path) -> None:
    root = make_project(tmp_path, url=URL + "{}")
    folder = put(root)
    for number, bad in enumerate([b"damaged", b"damaged again"]):
        (folder / "a.txt").write_bytes(bad)
        Web.pages, Web.asked = {URL + "a.txt": b"alpha"}, []
        status = fetch(tiny(root), root)
        assert status.state == "fetched"
        assert Web.asked == [URL + "a.txt"], "what was right is left alone"
        assert (status.wrong[0].expected, status.wrong[0].found) == (md5(b"alpha"), md5(bad))
        assert status.wrong[0].aside is not None
        assert status.wrong[0].aside.read_bytes() == bad
        assert len(list(folder.glob("*.corrupt"))) == number + 1
    assert verify(tiny(root)).ok


def test_corrupt_file_that_cannot_be_had_again_is_reported_as_corrupt(tmp_path: Path) -> None:
    root = make_project(tmp_path, url=URL + "{}")
    folder = put(root)
    (folder / "a.txt").write_bytes(b"damaged")
    status = fetch(tiny(root), root)
    assert status.state == "corrupt"
    assert "a.txt.corrupt" in str(status)
    assert not (folder / "a.txt").exists()


def test_leftovers_of_a_killed_fetch_are_swept(tmp_path: Path) -> None:
    root = make_project(tmp_path, url=URL + "{}")
    put(root, {".fetching/checked": b"half a fi"})
    Web.pages = {URL + path: content for path, content in FILES.items()}
    assert fetch(tiny(root), root).state == "fetched"
    assert on_disk(root) == FILES


def test_fetches_at_once_do_not_break_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path / "project", dvc=True)
    monkeypatch.setenv(_sources.REMOTE_VARIABLE, str(make_remote(tmp_path / "remote")))
    states: list[str] = []
    threads = [
        threading.Thread(target=lambda: states.append(fetch(tiny(root), root).state)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states) == ["fetched", "present", "present", "present"]
    assert on_disk(root) == FILES


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    root = make_project(tmp_path, url=URL + "{}")
    (root / "data").chmod(0o555)
    try:
        assert "cannot write" in fetch(tiny(root), root).detail[0]
    finally:
        (root / "data").chmod(0o755)
