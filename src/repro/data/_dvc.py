"""The few things asked of DVC: objects from a remote into its cache, and downloaded files into that cache.

DVC only ever fills its cache here. The files of a data set are put in place by `repro.data.fetch`, one by one
and checked, because `dvc checkout` refuses or deletes when it meets a file it does not know.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro.data.pointers import DataFile, Pointer, listing

_ENV = "repro-env"  # name of the remote in the configuration that lives in memory only


class RemoteFailedError(Exception):
    """A DVC remote or cache did not give the objects; the message says why."""


def default_remote(root: Path) -> str | None:
    """The default remote that the project's own DVC configuration names, if any."""
    if not (root / ".dvc").is_dir():
        return None
    with _asking(_Said()), _repository(root, root) as repo:
        return repo.config["core"].get("remote") or None


def fetch_objects(pointer: Pointer, root: Path, work: Path, url: str | None) -> list[tuple[DataFile, Path]]:
    """Bring the pointer's objects into DVC's cache from the remote `url`, or from the default remote if None.

    `work` is an empty folder that may be used; where the project has no `.dvc`, the cache is made there.
    Nothing is written into the project's DVC configuration. Returns (file, path of its object) for the
    objects that came; raises `RemoteFailedError` if none did.
    """
    said = _Said()
    failure = ""
    with _asking(said), _repository(root, work, url) as repo:
        target = pointer.pointer_file
        if not target.is_relative_to(repo.root_dir):
            target = work / "data" / pointer.pointer_file.name
            target.parent.mkdir()
            target.write_bytes(pointer.pointer_file.read_bytes())
        try:
            repo.fetch(targets=[str(target)], remote=_ENV if url else None)
        except Exception as error:  # some objects may have come all the same
            failure = _in_words(error)
        came = _cached(repo, pointer)
    if not came:
        reasons = [failure, *said.lines]
        raise RemoteFailedError("; ".join(r for r in reasons if r) or "it does not have the data")
    return came


def cached_objects(pointer: Pointer, root: Path) -> list[tuple[DataFile, Path]]:
    """What DVC's cache already holds of the pointer's files; empty where the project has no `.dvc`."""
    if not (root / ".dvc").is_dir():
        return []
    with _asking(_Said()), _repository(root, root) as repo:
        return _cached(repo, pointer)


def remember(pointer: Pointer, root: Path) -> None:
    """Copy a complete, verified set into DVC's cache, so that `dvc status` and `dvc checkout` know it.

    Does nothing where the project has no `.dvc`, or where the pointer lists no files.
    """
    if not (root / ".dvc").is_dir() or not pointer.files:
        return
    with _asking(_Said()), _repository(root, root) as repo:
        cache = repo.cache.local
        for file in pointer.files:  # `add` leaves alone what is there
            cache.add(str(pointer.place(file)), repo.fs, file.md5, hardlink=False)
        if pointer.is_folder and not cache.exists(pointer.md5):
            cache.add_bytes(pointer.md5, listing((file.path, file.md5) for file in pointer.files))


def _cached(repo: Any, pointer: Pointer) -> list[tuple[DataFile, Path]]:
    cache = repo.cache.local
    files = pointer.files
    if not files:
        listing = Path(cache.oid_to_path(pointer.md5))
        if not listing.is_file():
            return []
        entries = json.loads(listing.read_text(encoding="utf-8"))
        files = tuple(DataFile(path=entry["relpath"], md5=entry["md5"]) for entry in entries)
    places = [(file, Path(cache.oid_to_path(file.md5))) for file in files]
    return [(file, path) for file, path in places if path.is_file()]


@contextmanager
def _repository(root: Path, work: Path, url: str | None = None) -> Iterator[Any]:
    """The project as DVC sees it, with the remote `url` added in memory; a throw-away one if it has none."""
    from dvc.repo import Repo

    config: dict[str, Any] = {"core": {"no_scm": True, "analytics": False}}
    if url:
        # `verify`: DVC hashes what it downloads; without it an altered object would enter the cache as good.
        config["remote"] = {_ENV: {"url": url, "verify": True}}
        if url.startswith(("http://", "https://")):
            config["remote"][_ENV] |= {"connect_timeout": 5, "read_timeout": 60}
    home = root if (root / ".dvc").is_dir() else work
    (home / ".dvc").mkdir(exist_ok=True)
    with Repo(str(home), config=config) as repo:
        yield repo


class _Said(logging.Handler):
    """Collects DVC's warnings: they hold the reasons that its exceptions leave out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        if record.exc_info and record.exc_info[1]:
            line += f" ({record.exc_info[1]})"
        if line not in self.lines and len(self.lines) < 3:
            self.lines.append(line)


@contextmanager
def _asking(said: _Said) -> Iterator[None]:
    """Turn every failure of DVC into `RemoteFailedError`; its log lines go to `said` alone, without bars."""
    bars = ("dvc.progress", "dvc_data.callbacks")  # these draw unless their own level is above ERROR
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects", *bars)]
    before = [(log.level, log.propagate, log.handlers[:]) for log in loggers]
    for log in loggers:
        log.handlers, log.propagate = [said], False
        log.setLevel(logging.CRITICAL if log.name in bars else logging.WARNING)
    try:
        yield
    except Exception as error:
        raise RemoteFailedError(_in_words(error)) from error
    finally:
        for log, (level, propagate, handlers) in zip(loggers, before, strict=True):
            log.handlers, log.propagate = handlers, propagate
            log.setLevel(level)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
