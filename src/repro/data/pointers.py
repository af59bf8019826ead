"""`data/*.dvc`: the single statement of which bytes a data set is, and where they come from.

A pointer is an ordinary DVC file. Its free `meta` block adds what a reader without a DVC remote needs: the
licence, the sources, and per file the md5 and, where identical bytes can be downloaded, the URL.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from repro.errors import DataCorrupt, DataUnavailable, ReproError

Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

ASIDE = ".corrupt"  # `fetch` moves damaged files aside under this suffix
WORK_FOLDER = ".fetching"  # and downloads into this folder; neither is part of a set


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Strict):
    """A public home of the data, for people; `note` says how it relates to our bytes."""

    url: str
    note: str = ""


class DataFile(_Strict):
    """One file of a set: its path inside the set, its md5 and, if there is one, a URL with the same bytes."""

    path: str
    md5: Md5
    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    # The URL's bytes are compressed, or a tar archive whose member is the file; the md5 is of the plain file.
    archive: Literal["gzip", "tar"] | None = None
    member: str = ""

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path or str(pure) != path or path == ".":
            raise ValueError(f"{path!r} is not a plain path inside the data set")
        return path


class Pointer(_Strict):
    """One `data/NAME.dvc`, or one stage of `dvc.lock` that writes `data/NAME`.

    `path` is the tracked folder (or single file) on disk. `files` may be empty for a folder whose pointer has
    no `meta.files`, as `dvc add` makes it: such a folder is checked as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # `meta` is free: others may keep things there too

    name: str
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
    path: Path
    pointer_file: Path
    files: tuple[DataFile, ...] = ()
    sources: tuple[Source, ...] = ()
    licence: str = "not stated"
    description: str = ""
    command: str = ""  # of the DVC stage that makes the set, for sets that are generated

    @property
    def is_folder(self) -> bool:
        """Whether the pointer tracks a folder rather than a single file."""
        return self.md5.endswith(".dir")

    def place(self, file: DataFile) -> Path:
        """Where `file` belongs on disk."""
        return self.path / file.path if self.is_folder else self.path


def file_md5(path: Path) -> str:
    """The md5 of one file, as 32 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_checked(path: Path, expected_md5: str) -> bytes:
    """The bytes of `path`, read once and checked, so that what was checked is what is used.

    Raises `DataUnavailable` if the file is not there and `DataCorrupt` if its md5 is another.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataUnavailable(f"{path}: cannot be read ({error.strerror or error})") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected_md5:
        raise DataCorrupt(f"{path}: not the stated bytes: md5 expected {expected_md5}, found {found}")
    return content


def listing(entries: Iterable[tuple[str, str]]) -> bytes:
    """DVC's listing of a folder from its (path, md5) entries."""
    return json.dumps([{"md5": md5, "relpath": path} for path, md5 in sorted(entries)]).encode()


def listing_md5(entries: Iterable[tuple[str, str]]) -> str:
    """DVC's md5 of a folder: that of its listing; ends in `.dir`."""
    return hashlib.md5(listing(entries), usedforsecurity=False).hexdigest() + ".dir"


def dir_md5(folder: Path) -> str:
    """DVC's md5 of a folder on disk: that of its JSON listing. What `fetch` put aside is no part."""
    return listing_md5(
        (path.relative_to(folder).as_posix(), file_md5(path))
        for path in folder.rglob("*")
        if path.is_file() and not _put_aside(path.relative_to(folder))
    )


def _put_aside(path: Path) -> bool:
    """The same names as in `.dvcignore`, or DVC and we would disagree about the folder."""
    return any(part == WORK_FOLDER or part.endswith(ASIDE) for part in path.parts)


def find_root(start: Path | None = None) -> Path:
    """The project's folder: `REPRO_ROOT` if set, else the nearest at or above `start` (the current folder).

    A project is a folder with pointers `data/*.dvc`. Raises `ReproError` if there is none.
    """
    stated = os.environ.get("REPRO_ROOT")
    if stated:
        root = Path(stated).expanduser().resolve()
        if not _has_pointers(root):
            raise ReproError(f"REPRO_ROOT is {root}, but there is no data/*.dvc in it")
        return root
    begin = (start or Path.cwd()).resolve()
    for folder in (begin, *begin.parents):
        if _has_pointers(folder):
            return folder
    raise ReproError(
        f"no data/*.dvc at or above {begin}: run inside the project, or set REPRO_ROOT to its folder"
    )


def _has_pointers(folder: Path) -> bool:
    return any((folder / "data").glob("*.dvc"))


def read_pointers(root: Path) -> dict[str, Pointer]:
    """All pointers of `root/data`, by name. Raises `ReproError`, naming file and key, if one is malformed."""
    return {file.stem: _read(file) for file in sorted((root.resolve() / "data").glob("*.dvc"))}


def read_stages(root: Path) -> dict[str, Pointer]:
    """The sets `data/NAME` that stages of `dvc.yaml` make, by name, with the md5s that `dvc.lock` states.

    Raises `ReproError` if the file is malformed.
    """
    file = root.resolve() / "dvc.lock"
    if not file.is_file():
        return {}
    found = {}
    try:
        for stage, content in (yaml.safe_load(file.read_text(encoding="utf-8")).get("stages") or {}).items():
            for out in content.get("outs", []):
                folder, _, name = out["path"].rpartition("/")
                if folder == "data":
                    found[name] = Pointer(
                        name=name,
                        md5=out["md5"],
                        path=file.parent / DataFile._inside(out["path"]),
                        pointer_file=file,
                        licence="generated here",
                        description=f"made by the stage {stage} of dvc.yaml",
                        command=content["cmd"],
                    )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReproError(f"{file}: not DVC's lock file ({type(error).__name__}: {error})") from error
    return found


def get_pointer(name: str, root: Path) -> Pointer:
    """The pointer `data/NAME.dvc`, or that of the stage that makes `data/NAME`.

    Raises `DataUnavailable`, listing the known names, if there is neither.
    """
    file = root.resolve() / "data" / f"{name}.dvc"
    if file.is_file():
        return _read(file)
    stages = read_stages(root)
    if name not in stages:
        downloaded = [path.stem for path in sorted((root / "data").glob("*.dvc"))]
        known = ", ".join([*downloaded, *stages]) or "none"
        raise DataUnavailable(f"no data set called {name!r}: there is no {file}. Known: {known}")
    return stages[name]


def _read(file: Path) -> Pointer:
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        (out,) = content["outs"]
        meta = content.get("meta") or {}
        path = file.parent / DataFile._inside(out["path"])
        ours = {key: meta[key] for key in ("files", "sources", "licence", "description") if key in meta}
        pointer = Pointer(name=file.stem, md5=out["md5"], path=path, pointer_file=file, **ours)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReproError(f"{file}: {where}: {first['msg']}") from error
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReproError(
            f"{file}: not a DVC pointer with one output ({type(error).__name__}: {error})"
        ) from error
    return _consistent(pointer)


def _consistent(pointer: Pointer) -> Pointer:
    """Hold `meta.files` to the pointer's own md5, or two statements of which bytes would drift apart."""
    if not pointer.is_folder:
        only = DataFile(path=pointer.path.name, md5=pointer.md5)
        if not pointer.files:
            return pointer.model_copy(update={"files": (only,)})
        if [(f.path, f.md5) for f in pointer.files] != [(only.path, only.md5)]:
            raise ReproError(
                f"{pointer.pointer_file}: meta.files must be the one file {only.path}, {only.md5}"
            )
    elif pointer.files:
        total = listing_md5((file.path, file.md5) for file in pointer.files)
        if total != pointer.md5:
            raise ReproError(
                f"{pointer.pointer_file}: meta.files add up to md5 {total}, the pointer says {pointer.md5}"
            )
    return pointer
