"""Where a set's files can come from. Nothing here is trusted: `fetch` checks every md5 before placing a file.

Each source yields (file, path of a candidate for it, its origin in words) or raises `SourceFailedError` with
the reason. It may use the empty folder `work`, and `say` takes a line of progress.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from repro.data.pointers import DataFile, Pointer, file_md5

REMOTE_VARIABLE = "REPRO_DATA_REMOTE"  # a DVC remote - folder or URL - to try before the canonical sources

Progress = Callable[[str], None]
Candidates = Iterable[tuple[DataFile, Path, str]]

_TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
_TRIES = 2


class SourceFailedError(Exception):
    """One source could not give the files; the message names it and says why."""


def from_cache(pointer: Pointer, root: Path, work: Path, say: Progress) -> Candidates:
    """What DVC's cache in the project already holds."""
    from repro.data import _dvc

    try:
        objects = _dvc.cached_objects(pointer, root)
    except _dvc.RemoteFailedError as error:
        raise SourceFailedError(f"DVC's cache: {error}") from error
    for file, path in objects:
        if file_md5(path) == file.md5:
            yield file, path, "DVC's cache"
        else:  # named after its md5 and holding other bytes: rubbish, and DVC would serve it for ever
            path.unlink()
            say(f"removed a damaged object from DVC's cache: {path}")


def from_remote(pointer: Pointer, root: Path, work: Path, say: Progress) -> Candidates:
    """The DVC remote that the user named in the environment."""
    remote = os.environ.get(REMOTE_VARIABLE, "").strip()
    if not remote:
        raise SourceFailedError(f"DVC remote: {REMOTE_VARIABLE} is not set")
    label = f"DVC remote {remote} ({REMOTE_VARIABLE})"
    remote = remote.removeprefix("file://")
    if "://" not in remote:  # a folder: relative to where the user stands, not to DVC's configuration
        folder = Path(remote).expanduser().resolve()
        if not folder.is_dir():
            raise SourceFailedError(f"{label}: there is no such folder")
        remote = str(folder)
    say(f"{pointer.name}: asking {label}")
    yield from _through_dvc(pointer, root, work, remote, label)


def from_default_remote(pointer: Pointer, root: Path, work: Path, say: Progress) -> Candidates:
    """The default remote of the project's own DVC configuration, if it names one."""
    from repro.data import _dvc

    try:
        name = _dvc.default_remote(root)
    except _dvc.RemoteFailedError as error:
        raise SourceFailedError(f"DVC's default remote: {error}") from error
    if name:
        say(f"{pointer.name}: asking DVC's default remote {name!r}")
        yield from _through_dvc(pointer, root, work, None, f"DVC's default remote {name!r}")


def _through_dvc(pointer: Pointer, root: Path, work: Path, url: str | None, label: str) -> Candidates:
    from repro.data import _dvc

    try:
        objects = _dvc.fetch_objects(pointer, root, work, url)
    except _dvc.RemoteFailedError as error:
        raise SourceFailedError(f"{label}: {error}") from error
    yield from ((file, path, label) for file, path in objects)
    lacking = {file.path for file in pointer.files} - {file.path for file, _ in objects}
    if lacking:
        raise SourceFailedError(f"{label}: does not give {', '.join(sorted(lacking)[:3])}")


def from_urls(pointer: Pointer, root: Path, work: Path, say: Progress) -> Candidates:
    """Each missing file from its canonical URL; all of them or none."""
    absent = [file for file in pointer.files if not pointer.place(file).is_file()]
    without = [file.path for file in absent if not file.url]
    if without or not absent:
        homes = "; ".join(f"{s.url} ({s.note})" if s.note else s.url for s in pointer.sources)
        what = ", ".join(without[:3]) + (" ..." if len(without) > 3 else "") or pointer.name
        raise SourceFailedError(
            f"canonical source: no download of identical bytes is known for {what}; "
            f"public homes: {homes or 'none stated'}"
        )
    # The first failure ends it: an incomplete set is of no use, and an offline user should not wait for each.
    for number, file in enumerate(absent, 1):
        say(f"{pointer.name}: {number}/{len(absent)} {file.url}")
        yield file, _candidate(file, work), file.url or ""


def _candidate(file: DataFile, work: Path) -> Path:
    """Download one file into `work`, unpacked. Its md5 is checked when it is put in place."""
    url = file.url or ""
    # Of several files, downloaded once.
    archive = work / f"{hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()}.tar"
    if file.archive != "tar" or not archive.is_file():
        fetched = _download(url, work)
        if file.archive is None:
            return fetched.rename(work / "candidate")
        if file.archive == "tar":
            fetched.rename(archive)
    plain = work / "candidate"
    if file.archive == "tar":
        try:
            with tarfile.open(archive) as packed, plain.open("wb") as out:
                member = packed.extractfile(file.member)
                if member is None:
                    raise KeyError(f"{file.member} is no file")
                shutil.copyfileobj(member, out)
        except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
            raise SourceFailedError(f"{url}: no readable {file.member} in it ({_reason(error)})") from error
        return plain
    try:
        with gzip.open(fetched) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceFailedError(f"{url}: not a readable gzip file ({_reason(error)})") from error
    fetched.unlink()
    return plain


def _download(url: str, work: Path) -> Path:
    """Download the bytes of a URL into `work`."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    fetched = work / "download"
    for attempt in range(1, _TRIES + 1):
        try:
            pooch.retrieve(
                url,
                known_hash=None,
                fname=fetched.name,
                path=work,
                downloader=pooch.HTTPDownloader(timeout=_TIMEOUT, progressbar=False),
            )
            break
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            if attempt == _TRIES:
                raise SourceFailedError(f"{url}: {_reason(error)} ({_TRIES} tries)") from error
        except (requests.RequestException, OSError, ValueError) as error:
            raise SourceFailedError(f"{url}: {_reason(error)}") from error
    return fetched


def from_stage(pointer: Pointer, root: Path, work: Path, say: Progress) -> Candidates:
    """The command of the DVC stage that makes the set; it writes the whole set in place itself."""
    say(f"{pointer.name}: {pointer.command}")
    program, *arguments = shlex.split(pointer.command)
    made = subprocess.run(
        [sys.executable if program == "python" else program, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    if made.returncode:
        last = (made.stderr.strip() or "it said nothing").splitlines()[-1]
        raise SourceFailedError(f"{pointer.command}: exit {made.returncode}: {last}")
    yield from ()


def _reason(error: Exception) -> str:
    """The cause in one line, without urllib3's wrappings and object addresses."""
    text = " ".join(str(error).split()).rpartition("(Caused by ")[2]
    text = text.removesuffix(")") if text.endswith("))") else text
    text = re.sub(r"<[^<>]*>:? ?", "", text)
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


ALL = (from_cache, from_remote, from_default_remote, from_urls)
