"""Records: the immutable result of one (experiment, setting, seed), with its provenance.

A record is one JSON file, written to a temporary file in the same folder, flushed, synced and renamed, so that
a reader sees a whole record or none. Many records are compacted into one Parquet file per paper.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repro.claims import Setting
from repro.errors import RecordDamaged
from repro.plan import canonical, setting_hash

Row = dict[str, float]


@dataclass(frozen=True)
class Record:
    """One result.

    Attributes:
        rows: one mapping per row: the index, if the experiment has one, and each quantity.
        code: see :func:`repro.provenance.code_hash`.
        function: ``module.function`` of the paper's folder, of whose functions ``code`` covers all alike; empty in
            records from before it was written down.
        data: md5 of each data set that was read.
        seconds: wall time of this seed; of seeds trained together, an equal share; of what is read off a training that
            another setting paid for, next to nothing.
    """

    paper: str
    experiment: str
    setting: Setting
    seed: int
    rows: list[Row]
    code: str
    data: dict[str, str]
    environment: dict[str, Any]
    seconds: float
    created: str
    function: str = ""
    checksum: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        """Name of the record: paper, experiment, setting and seed."""
        return f"{self.paper}/{self.experiment}/{setting_hash(self.setting)}/{self.seed}"

    def digest(self) -> str:
        """Return the sha256 of everything but the checksum itself."""
        content = asdict(self)
        del content["checksum"]
        if not self.function:
            del content["function"]
        return hashlib.sha256(canonical(content).encode()).hexdigest()


def _from_mapping(content: dict[str, Any], where: str) -> Record:
    try:
        record = Record(**content)
    except TypeError:
        raise RecordDamaged(f"{where}: not a record (its keys are {', '.join(sorted(content))})") from None
    if record.checksum != record.digest():
        raise RecordDamaged(f"{where}: its content does not match its checksum")
    return record


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file so that it is there whole or not at all; also after a power cut, unless it need not last.

    A pipe or a device is written to, and what a link points to is replaced, not the link.

    Raises:
        OSError: naming the file.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def write_record(folder: Path, record: Record) -> Path:
    """Write one record below ``folder`` and return its file."""
    (path,) = write_records(folder, [record])
    return path


def write_records(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Write records below ``folder``, all or none of them, and return their files.

    They are written beside their places first, so that a kill has only the time of the renames to part them.
    """
    waiting: list[tuple[Path, Path]] = []
    placed: list[Path] = []
    try:
        for record in records:
            content = asdict(record) | {"checksum": record.digest()}
            path = folder / f"{record.id}.json"
            new = path.with_suffix(".json.new")
            write_atomically(new, (json.dumps(content, indent=1) + "\n").encode())
            waiting.append((new, path))
        for new, path in waiting:
            os.replace(new, path)
            placed.append(path)
    except BaseException:  # a full disk, say: half a chunk would be those that stop early
        for path in [*placed, *(new for new, _ in waiting)]:
            path.unlink(missing_ok=True)
        raise
    return placed


def read_record(path: Path) -> Record:
    """Read one record file.

    Raises:
        RecordDamaged: if it is truncated, altered or no record.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordDamaged(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise RecordDamaged(f"{path}: not a record")
    return _from_mapping(content, str(path))


def _parquet_columns(records: Iterable[Record]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "paper", "experiment", "setting", "seed", "code", "data", "environment", "seconds", "created",
            "function", "checksum", "row", "name", "value",
        )
    }  # fmt: skip
    for record in records:
        shared = (
            record.paper, record.experiment, canonical(record.setting), record.seed, record.code,
            canonical(record.data), canonical(record.environment), record.seconds, record.created,
            record.function, record.digest(),
        )  # fmt: skip
        for number, row in enumerate(record.rows):
            for name, value in row.items():
                for column, entry in zip(columns.values(), (*shared, number, name, value), strict=True):
                    column.append(entry)
    return columns


def write_parquet(path: Path, records: Iterable[Record]) -> None:
    """Compact records into one file: one line per record, row and quantity."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = _parquet_columns(sorted(records, key=lambda r: (r.experiment, canonical(r.setting), r.seed)))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd", use_dictionary=True)
    write_atomically(path, sink.getvalue().to_pybytes())


def read_parquet(path: Path) -> Iterator[Record | RecordDamaged]:
    """Yield the records of a compact file; in the place of a damaged one, the error that says so."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = ("paper", "experiment", "setting", "seed", "code", "data", "environment", "seconds", "created",
            "checksum")  # fmt: skip
    try:
        later = [name for name in ("function",) if name in pq.read_schema(path).names]
        lines = pq.read_table(path, columns=[*keys, *later, "row", "name", "value"]).to_pylist()
    except (OSError, pa.ArrowException, ValueError) as error:  # the last: bytes that are no text
        yield RecordDamaged(f"{path}: cannot be read as Parquet ({error})")
        return
    grouped: dict[tuple[Any, ...], dict[int, Row]] = {}
    for line in lines:
        rows = grouped.setdefault(tuple(line[key] for key in (*keys, *later)), {})
        rows.setdefault(line["row"], {})[line["name"]] = line["value"]
    for values, rows in grouped.items():
        content: dict[str, Any] = dict(zip((*keys, *later), values, strict=True))
        where = f"{path}: {content['experiment']}/{content['setting']}/{content['seed']}"
        try:
            content["rows"] = [rows[number] for number in range(len(rows))]
            for key in ("setting", "data", "environment"):
                content[key] = json.loads(content[key])
            yield _from_mapping(content, where)
        except RecordDamaged as damage:
            yield damage
        except (KeyError, TypeError, ValueError):
            yield RecordDamaged(f"{where}: not a whole record")


def read_folder(folder: Path, paper: str) -> tuple[list[Record], list[RecordDamaged]]:
    """Return one paper's records below a folder, JSON files and compact file alike, and what is damaged."""
    records: list[Record] = []
    damaged: list[RecordDamaged] = []
    compact = folder / f"{paper}.parquet"
    if compact.is_file():
        for item in read_parquet(compact):
            (damaged if isinstance(item, RecordDamaged) else records).append(item)  # type: ignore[arg-type]
    for path in sorted((folder / paper).glob("*/*/*.json")):
        try:
            record = read_record(path)
            if path != folder / f"{record.id}.json":
                raise RecordDamaged(f"{path}: holds the record {record.id}, not the one its name says")
            records.append(record)
        except RecordDamaged as damage:
            damaged.append(damage)
    return records, damaged


def problems_file(folder: Path, paper: str) -> Path:
    """Return the file that notes which jobs could not run."""
    return folder / paper / "problems.json"


def read_problems(folder: Path, paper: str) -> dict[str, dict[str, Any]]:
    """Return what the last runs could not do: job name to its ``state`` and ``message``.

    The state is blocked or failed; of a failure the ``seeds`` that have no record yet.

    Raises:
        RecordDamaged: if the note cannot be read; without it what is left of a failed run would count as a fair sample.
    """
    path = problems_file(folder, paper)
    try:
        return {str(job): dict(note) for job, note in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError):
        raise RecordDamaged(
            f"{path}: cannot be read; it notes which runs failed. Remove it together with the records beside it, "
            "or restore it"
        ) from None


def levels_file(folder: Path, paper: str) -> Path:
    """Return the file that notes which records were grown by a sequential rule."""
    return folder / paper / "sequential.json"


def read_levels(folder: Path, paper: str) -> dict[str, float]:
    """Return experiment to the level at which verdicts on its records are given; empty where none was grown.

    Raises:
        RecordDamaged: if the note cannot be read; without it the verdicts would be too sure of themselves.
    """
    path = levels_file(folder, paper)
    if not path.is_file():
        return {}
    try:
        return {
            str(name): float(level) for name, level in json.loads(path.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        raise RecordDamaged(
            f"{path}: cannot be read; it notes which records were grown until a verdict was conclusive. "
            "Restore it, or remove these records"
        ) from None


def note_levels(folder: Path, paper: str, levels: dict[str, float]) -> None:
    """Add experiments to the note; one that is there keeps the stricter level."""
    from filelock import FileLock

    if not levels:
        return
    path = levels_file(folder, paper)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # another run on the same folder may have something to note
        known = read_levels(folder, paper)
        merged = known | {name: min(level, known.get(name, level)) for name, level in levels.items()}
        if merged != known:
            write_atomically(path, (json.dumps(merged, indent=1) + "\n").encode())
