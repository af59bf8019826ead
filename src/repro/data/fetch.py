"""Get a data set, check every byte of it, and say plainly what is wrong when it cannot be had.

Sources in order: DVC's cache, the DVC remote in `REPRO_DATA_REMOTE`, DVC's default remote, each file's
canonical URL. Whatever the source, a file is put in place only after its md5 is the one the pointer states.
A set that a stage of `dvc.yaml` makes is made by that stage, and held to the md5 in `dvc.lock`.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from repro.data import _sources
from repro.data._sources import REMOTE_VARIABLE, Progress, SourceFailedError
from repro.data.pointers import (
    ASIDE,
    WORK_FOLDER,
    DataFile,
    Pointer,
    dir_md5,
    file_md5,
    find_root,
    get_pointer,
)
from repro.errors import DataCorrupt, DataUnavailable

State = Literal["present", "fetched", "missing", "corrupt"]

_LOCK_SECONDS = 1800  # another process may be downloading the same set


@dataclass(frozen=True)
class WrongFile:
    """A file whose bytes are not the stated ones; `aside` is where `fetch` moved it, if it did."""

    path: Path
    expected: str
    found: str
    aside: Path | None = None

    def __str__(self) -> str:
        moved = f"; moved aside to {self.aside}" if self.aside else ""
        return f"{self.path}: md5 expected {self.expected}, found {self.found}{moved}"


@dataclass(frozen=True)
class Status:
    """What is known about a set: `detail` has one line per source tried, with why it failed."""

    name: str
    state: State
    detail: tuple[str, ...] = ()
    missing: tuple[Path, ...] = ()
    wrong: tuple[WrongFile, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the set is there with the stated bytes."""
        return self.state in ("present", "fetched")

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.state}"]
        if self.missing:
            shown = ", ".join(path.name for path in self.missing[:3])
            more = f" and {len(self.missing) - 3} more" if len(self.missing) > 3 else ""
            lines.append(f"missing in {self.missing[0].parent}: {shown}{more}")
        return "\n  ".join([*lines, *map(str, self.wrong), *self.detail])


def verify(pointer: Pointer) -> Status:
    """Compare the files on disk with the pointer. Reads every byte, writes nothing, asks nobody.

    `state` is `present`, `missing` (a file is not there, or cannot be read: then `detail` says which) or `corrupt` (a
    file has other bytes).
    """
    try:
        return _compare(pointer)
    except DataUnavailable as error:
        why = str(error)
    except OSError as error:
        why = f"{error.filename or pointer.path}: cannot be read ({error.strerror})"
    return Status(pointer.name, "missing", (why,))


def _compare(pointer: Pointer) -> Status:
    wrong: list[WrongFile] = []
    missing: list[Path] = []
    if not pointer.files:  # a folder whose pointer lists no files can only be judged as a whole
        if not pointer.path.is_dir():
            missing.append(pointer.path)
        elif (found := dir_md5(pointer.path)) != pointer.md5:
            wrong.append(WrongFile(pointer.path, pointer.md5, found))
    for file in pointer.files:
        place = pointer.place(file)
        if not place.is_file():
            missing.append(place)
        elif (found := file_md5(place)) != file.md5:
            wrong.append(WrongFile(place, file.md5, found))
    state: State = "corrupt" if wrong else "missing" if missing else "present"
    return Status(pointer.name, state, missing=tuple(missing), wrong=tuple(wrong))


def fetch(pointer: Pointer, root: Path, progress: Progress | None = None) -> Status:
    """Bring the set's missing files into place; a complete set is left alone, a damaged file is moved aside.

    Two fetches at once wait for each other, also across processes. `progress` is called with a line per step.
    Nothing is raised for data that cannot be had: `state` is then `missing` or `corrupt`, and `detail` lists
    the sources tried with why each failed.
    """
    from filelock import FileLock, Timeout

    root = root.resolve()
    if (status := verify(pointer)).ok:
        return status
    say = progress or (lambda line: None)
    lock = FileLock(root / "data" / ".fetch.lock")
    try:
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            say(f"{pointer.name}: waiting for another fetch to finish")
            held = lock.acquire(timeout=_LOCK_SECONDS)
        with held:
            return _fetch_locked(pointer, root, say)
    except Timeout:
        reason = f"another fetch has held {lock.lock_file} for {_LOCK_SECONDS} s"
        return replace(status, detail=(reason,))
    except OSError as error:
        return replace(status, detail=(f"cannot write in {root / 'data'}: {error}",))


def _fetch_locked(pointer: Pointer, root: Path, say: Progress) -> Status:
    before = verify(pointer)  # again: another process may have finished while we waited
    if before.ok:
        return before
    aside = tuple(replace(wrong, aside=_move_aside(wrong.path)) for wrong in before.wrong)
    for moved in aside:
        say(f"damaged: {moved}")
    detail: list[str] = []
    for source in (_sources.from_stage,) if pointer.command else _sources.ALL:
        with _work_folder(pointer) as work:
            try:
                for file, candidate, origin in source(pointer, root, work, say):
                    if not pointer.place(file).is_file():  # what is still there was found right
                        _put_in_place(pointer.place(file), file, candidate, origin, work)
            except SourceFailedError as error:
                detail.append(str(error))
                say(str(error))
        after = verify(pointer)
        if source is _sources.from_stage:  # what it has just made otherwise is nobody's work to be kept
            for other in after.wrong:
                shutil.rmtree(other.path) if other.path.is_dir() else other.path.unlink()
        if after.ok:
            if source is _sources.from_urls:
                _remember(pointer, root)
            return Status(pointer.name, "fetched", tuple(detail), wrong=aside)
    state: State = "corrupt" if aside or after.wrong else "missing"
    return Status(pointer.name, state, tuple(detail), after.missing, (*aside, *after.wrong))


def _put_in_place(place: Path, file: DataFile, candidate: Path, origin: str, work: Path) -> None:
    """Copy `candidate` into `work`, check the copy's md5, only then rename it: never half a file in place."""
    copy = work / "checked"
    shutil.copyfile(candidate, copy)
    found = file_md5(copy)
    if found != file.md5:
        raise SourceFailedError(
            f"{origin}: refused, not the stated bytes of {file.path}: md5 expected {file.md5}, found {found}"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(copy, place)


def _move_aside(path: Path) -> Path:
    target = path.with_name(path.name + ASIDE)
    number = 1
    while target.exists():
        target = path.with_name(f"{path.name}.{number}{ASIDE}")
        number += 1
    os.replace(path, target)
    return target


@contextmanager
def _work_folder(pointer: Pointer) -> Iterator[Path]:
    """A folder beside the files, so that a rename from it is atomic even where the set is a link or a mount.

    Its name is fixed: only the holder of the lock uses it, so what a killed fetch left is swept away here.
    """
    home = pointer.path if pointer.is_folder else pointer.path.parent
    work = home / WORK_FOLDER
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # nothing came: leave no empty folder that looks like a data set
            home.rmdir()


def _remember(pointer: Pointer, root: Path) -> None:
    from repro.data import _dvc

    # The data is in place and right; a DVC cache that cannot be written only costs a later `dvc checkout`.
    try:
        _dvc.remember(pointer, root)
    except _dvc.RemoteFailedError as error:
        logging.getLogger(__name__).warning("%s: not copied into DVC's cache: %s", pointer.name, error)


_Signature = tuple[tuple[str, int, int], ...]
_verified: dict[tuple[Path, str], _Signature] = {}


def require(name: str, root: Path | None = None) -> Path:
    """The folder (or single file) of a set, verified; checked once per process unless a file changes.

    Downloads nothing. Raises `DataUnavailable`, naming the files, the possible sources and the command that
    gets them, or `DataCorrupt`, naming each file with both md5s.
    """
    root = root or find_root()
    pointer = get_pointer(name, root)
    key = (pointer.pointer_file, pointer.md5)
    signature = _signature(pointer)
    if signature and _verified.get(key) == signature:
        return pointer.path
    status = verify(pointer)
    command = f"repro data fetch {name}"
    if status.state == "corrupt":
        raise DataCorrupt(f"{status}\n  to move aside what is damaged and get it again: {command}")
    if not status.ok:
        homes = [f"source: {s.url} ({s.note})" if s.note else f"source: {s.url}" for s in pointer.sources]
        way = f"tries {REMOTE_VARIABLE}, DVC's default remote, canonical URLs"
        hint = f"to get it: {command} ({f'runs {pointer.command}' if pointer.command else way})"
        raise DataUnavailable("\n  ".join([str(status), *homes, hint]))
    _verified[key] = signature
    return pointer.path


def _signature(pointer: Pointer) -> _Signature:
    """Sizes and times of the files: cheap, and different as soon as one is replaced or edited."""
    places = [pointer.place(file) for file in pointer.files] or sorted(pointer.path.rglob("*"))
    found = []
    for place in places:
        try:
            stat = place.stat()
        except OSError:
            return ()
        found.append((str(place), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def data_md5(name: str, root: Path | None = None) -> str:
    """The md5 that states which bytes the set is: a record's data provenance. Reads only the pointer."""
    return get_pointer(name, root or find_root()).md5
