"""Records are whole or not there, damage is found, and a record of other code or data does not count."""

from __future__ import annotations

import ast
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repro import provenance
from repro.errors import RecordDamaged, ReproError
from repro.evidence import gather
from repro.freshness import read_vouched, staleness
from repro.judge import judge
from repro.plan import canonical
from repro.provenance import code_hash, code_modules
from repro.records import (
    Record,
    read_folder,
    read_parquet,
    read_problems,
    read_record,
    write_atomically,
    write_parquet,
    write_record,
    write_records,
)
from repro.reference import keep
from repro.report.readme import BEGIN, END

INF = math.inf
NAN = math.nan


def record(seed: int = 0, rows: list[dict[str, float]] | None = None, **changed: object) -> Record:
    values = {
        "paper": "toy",
        "experiment": "train",
        "setting": {"level": 80.0, "steps": 100, "flag": True, "name": "ü"},
        "seed": seed,
        "rows": rows or [{"accuracy": 80.1 + seed}],
        "code": "c0de",
        "data": {"corpus": "abc.dir"},
        "environment": {"python": "3.11.7", "gpu": None},
        "seconds": 0.25,
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Record(**{**values, **changed})


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def same(a: Record, b: Record) -> bool:
    """Equality in which NaN equals NaN, and 1 does not equal 1.0 or True."""
    return canonical(asdict(replace(a, checksum=""))) == canonical(asdict(replace(b, checksum="")))


# ------------------------------------------------------------------ writing


def test_round_trip(tmp_path: Path) -> None:
    one = record(
        3, [{"size": 1.0, "cost": NAN}, {"size": 2.0, "cost": -INF}, {"size": 4.0, "cost": 0.1 + 0.2}]
    )
    path = write_record(tmp_path, one)
    assert files(tmp_path) == [f"{one.id}.json"]
    assert one.id.startswith("toy/train/")
    assert one.id.endswith("/3")
    assert same(read_record(path), one)


def test_crash_before_the_rename_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        assert files(tmp_path), "the temporary file is in the same folder"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, record())
    assert files(tmp_path) == []


def test_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_record(tmp_path, record(rows=[{"accuracy": 1.0}]))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_record(tmp_path, record(rows=[{"accuracy": 2.0}]))
    assert read_record(path).rows == [{"accuracy": 1.0}]
    assert len(files(tmp_path)) == 1


def test_content_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power cut could leave an empty file of the right name."""
    done: list[str] = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(f"sync {os.fstat(fd).st_size}"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), rename(a, b)))
    write_atomically(tmp_path / "x", b"12345")
    assert done == ["sync 5", "rename"]
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_left_over_temporary_files_are_no_records(tmp_path: Path) -> None:
    path = write_record(tmp_path, record())
    (path.parent / f".{path.name}.abc.tmp").write_text("{")
    records, damaged = read_folder(tmp_path, "toy")
    assert (len(records), damaged) == (1, [])


# ------------------------------------------------------------------ damage


def damage_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("80.1", "80.2"),
        ('"seed": 0', '"seed": 1'),
        ('"level": 80.0', '"level": 81.0'),
        ('"code": "c0de"', '"code": "c0df"'),
        ("abc.dir", "abd.dir"),
        ('"accuracy"', '"accurace"'),
        ('"seconds": 0.25', '"seconds": 0.5'),
        ('"python": "3.11.7"', '"python": "3.12.7"'),
        ('"created"', '"craeted"'),
        ('"flag": true', '"flag": 1'),
    ],
)
def test_altered_record_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = write_record(tmp_path, record())
    damage_text(path, old, new)
    with pytest.raises(RecordDamaged, match=str(path)):
        read_record(path)
    records, damaged = read_folder(tmp_path, "toy")
    assert (records, len(damaged)) == ([], 1)


@pytest.mark.parametrize("keep", [0, 1, 40, -3])
def test_truncated_record_is_refused(tmp_path: Path, keep: int) -> None:
    path = write_record(tmp_path, record())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RecordDamaged, match=str(path)):
        read_record(path)


@pytest.mark.parametrize("content", [b"[]", b"null", b'"x"', b"\xff\xfe", b'{"paper": "toy"}', b"{}"])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "toy" / "train" / "x" / "0.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(RecordDamaged, match=str(path)):
        read_record(path)


def test_record_without_checksum_is_refused(tmp_path: Path) -> None:
    path = write_record(tmp_path, record())
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps(content))
    with pytest.raises(RecordDamaged, match="checksum"):
        read_record(path)


def test_record_under_a_wrong_name_is_refused(tmp_path: Path) -> None:
    """A copied file would count one run twice."""
    path = write_record(tmp_path, record(0))
    path.with_name("1.json").write_bytes(path.read_bytes())
    records, damaged = read_folder(tmp_path, "toy")
    assert [r.seed for r in records] == [0]
    (one,) = damaged
    assert "1.json" in str(one)
    assert record(0).id in str(one)


def test_damage_costs_no_other_record(tmp_path: Path) -> None:
    paths = [write_record(tmp_path, record(seed)) for seed in range(4)]
    paths[1].write_text("{")
    records, damaged = read_folder(tmp_path, "toy")
    assert [r.seed for r in records] == [0, 2, 3]
    assert [str(paths[1]) in str(d) for d in damaged] == [True]


@pytest.mark.parametrize("content", ["{", "[]", '{"train/x": 1}'])
def test_unreadable_notes_of_failures_are_damage(tmp_path: Path, content: str) -> None:
    """Taken for none, they would let what is left of a failed run count as a fair sample."""
    assert read_problems(tmp_path, "toy") == {}
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "problems.json").write_text(content)
    with pytest.raises(RecordDamaged, match=r"problems\.json: cannot be read"):
        read_problems(tmp_path, "toy")


def test_a_chunk_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full, or the process told to end, at every step of it once; what was there before stays."""
    old = write_record(tmp_path, record(2, [{"accuracy": 1.0}]))
    before, steps, replace = old.read_text(), 0, os.replace

    def fail_at(step: int) -> Callable[..., None]:
        def doing(*args: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                raise KeyboardInterrupt
            replace(*args)

        return doing

    for step in range(1, 6):  # three files written beside their places, two of three renamed
        steps = 0
        monkeypatch.setattr(os, "replace", fail_at(step))
        with pytest.raises(KeyboardInterrupt):
            write_records(tmp_path, [record(seed) for seed in (0, 1, 2)])
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [old.name]
        assert old.read_text() == before
    monkeypatch.setattr(os, "replace", replace)
    write_records(tmp_path, [record(seed) for seed in (0, 1, 2)])
    assert [r.seed for r in read_folder(tmp_path, "toy")[0]] == [0, 1, 2]
    assert not list(tmp_path.rglob("*.new"))


def test_a_flipped_bit_in_text_of_a_compact_file_is_damage(tmp_path: Path) -> None:
    """What Arrow reads as bytes may be no text."""
    path = tmp_path / "toy.parquet"
    write_parquet(path, some_records())
    whole, found = path.read_bytes(), set()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        for item in read_parquet(path):
            found.add(type(item).__name__)
    assert found == {"Record", "RecordDamaged"}


def test_runs_of_the_reference_that_count_stay_unless_told(toy) -> None:
    """Another machine's run of the same seed is told of, and does not take their place."""
    toy.write("README.md", f"{BEGIN}\n{END}\n")
    project, other = toy.project, toy.root / "other"
    for seed in range(3):
        write_record(toy.folder, toy.record("train", seed, {"accuracy": 80.0 + seed}))
    write_record(other, toy.record("train", 1, {"accuracy": 99.0}))
    write_record(other, toy.record("train", 2, {"accuracy": 82.0}))
    write_record(other, toy.record("train", 3, {"accuracy": 83.0}))
    assert keep(project, "toy", toy.folder).differing == []

    def held() -> list[float]:
        found, _ = read_folder(project.reference, "toy")
        return [r.rows[0]["accuracy"] for r in sorted(found, key=lambda r: r.seed)]

    kept = keep(project, "toy", other)
    assert (kept.count, len(kept.differing), held()) == (4, 1, [80.0, 81.0, 82.0, 83.0])
    assert keep(project, "toy", other, replace=True).differing == []
    assert held() == [80.0, 99.0, 82.0, 83.0]


# ------------------------------------------------------------------ compact


def some_records() -> list[Record]:
    curve = [
        {"size": float(2**i), "cost": value} for i, value in enumerate([1.5, NAN, INF, -INF, -0.0, 1e-300])
    ]
    return [
        record(0),
        record(1, [{"accuracy": NAN}]),
        record(2, [{"accuracy": INF}], setting={}),
        record(7, curve, experiment="growth", setting={"power": 1.0}, data={}),
        record(11, [{"a": 0.1, "b": 0.2}, {"a": 0.3}], experiment="ragged", environment={}),
    ]


def test_parquet_round_trip(tmp_path: Path) -> None:
    before = some_records()
    path = tmp_path / "toy.parquet"
    write_parquet(path, before)
    after = list(read_parquet(path))
    assert all(isinstance(r, Record) for r in after)
    found = {r.id: r for r in after if isinstance(r, Record)}
    assert len(found) == len(before)
    for one in before:
        assert same(found[one.id], one)
    records, damaged = read_folder(tmp_path, "toy")
    assert (len(records), damaged) == (len(before), [])


def test_parquet_is_the_same_in_any_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a", some_records())
    write_parquet(tmp_path / "b", some_records()[::-1])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parquet_of_nothing(tmp_path: Path) -> None:
    write_parquet(tmp_path / "toy.parquet", [])
    assert read_folder(tmp_path, "toy") == ([], [])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("value", 99.0),
        ("value", None),
        ("name", "accurace"),
        ("setting", '{"level":1.0}'),
        ("setting", "{"),
        ("environment", None),
        ("checksum", "0"),
        ("row", 5),
        ("row", -1),
        ("row", 10**12),
        ("seed", 3),
        ("code", "other"),
    ],
)
def test_damaged_line_of_a_parquet_file(tmp_path: Path, column: str, value: object) -> None:
    path = tmp_path / "toy.parquet"
    write_parquet(path, [record(seed) for seed in range(3)])
    lines = pq.read_table(path).to_pylist()
    lines[1][column] = value
    pq.write_table(pa.Table.from_pylist(lines), path)
    records, damaged = read_folder(tmp_path, "toy")
    assert [r.seed for r in records] == [0, 2]
    (one,) = damaged
    assert str(path) in str(one)
    assert "train" in str(one)


@pytest.mark.parametrize("change", ["truncate", "empty", "garbage", "no column"])
def test_damaged_parquet_file(tmp_path: Path, change: str) -> None:
    path = tmp_path / "toy.parquet"
    write_parquet(path, [record()])
    if change == "no column":
        pq.write_table(pq.read_table(path).drop_columns(["seed"]), path)
    else:
        content = {"truncate": path.read_bytes()[:-9], "empty": b"", "garbage": b"x" * 999}
        path.write_bytes(content[change])
    one = write_record(tmp_path, record(5))
    records, damaged = read_folder(tmp_path, "toy")
    assert [r.seed for r in records] == [5]
    assert one.is_file()
    assert [str(path) in str(d) for d in damaged] == [True]


def test_a_run_counts_once(toy) -> None:
    """The same run in the compact file and as a file of its own is one run, not two."""
    records = [
        toy.record(
            "growth", seed, [{"size": float(s), "cost": s**1.2 * (1 + 0.001 * seed)} for s in (1, 2, 4)]
        )
        for seed in range(3)
    ]
    toy.write_records(records)
    write_parquet(toy.folder / "toy.parquet", records)
    evidence = gather(toy.project, toy.ledger, toy.folder)
    assert {v.claim: v.n for v in judge(evidence)}["C1"] == 3


# ------------------------------------------------------------------ staleness


def stale(toy, one: Record) -> str | None:
    vouched = read_vouched(toy.project.reference, toy.ledger.paper.id)
    return staleness(toy.project, toy.ledger, vouched)(one)


def test_fresh_record_counts(toy) -> None:
    assert stale(toy, toy.record("train", 0, {"accuracy": 80.0})) is None


COSMETIC = {
    "comment": ('LEAD = {"a"', '# a comment\nLEAD = {  "a"'),
    "docstring": ('"""The model."""', '"""The model,\nexplained."""'),
    "no docstring": ('"""The model."""\n', ""),
    "formatting": ('{"a": 0.0, "b": 2.0, "c": 2.5}', "{\n    'a': 0.0,\n    'b': 2.00,\n    'c': 2.5,\n}"),
    "blank lines": ("\n\nLEAD", "\n\n\n\n\nLEAD"),
}
REAL = {
    "number": ('"b": 2.0', '"b": 2.1'),
    "key": ('"b"', '"B"'),
    "type": ('"b": 2.0', '"b": 2'),
    "one more line": ("\n\nLEAD", '\n\nimport os\n\nos.environ["X"] = "1"\nLEAD'),
}


@pytest.mark.parametrize("change", COSMETIC)
def test_comments_and_formatting_do_not_matter(toy, change: str) -> None:
    one = toy.record("train", 0, {"accuracy": 80.0})
    toy.edit(*COSMETIC[change], "model.py")
    assert stale(toy, one) is None


@pytest.mark.parametrize("change", REAL)
def test_code_matters(toy, change: str) -> None:
    """Also in a module that the experiment's module imports."""
    one = toy.record("train", 0, {"accuracy": 80.0})
    other = toy.record("counting", 0, {"count": 12.0, "excess": 0.0})
    toy.edit(*REAL[change], "model.py")
    assert stale(toy, one) == "the code has changed since"
    assert stale(toy, other) is None, "the audits do not import the model"


@pytest.mark.parametrize(
    "how",
    [
        "from .model import LEAD",
        "from . import model\n\nLEAD = model.LEAD",
        "import papers.toy.model\n\nLEAD = papers.toy.model.LEAD",
        "from papers.toy import model\n\nLEAD = model.LEAD",
        "from papers.toy.model import *",
    ],
)
def test_every_way_to_import_is_followed(toy, how: str) -> None:
    toy.edit("from papers.toy.model import LEAD", how, "experiments.py")
    one = toy.record("train", 0, {"accuracy": 80.0})
    assert toy.run("quick", "train", seeds=[0]).failed == {}
    toy.edit(*REAL["number"], "model.py")
    assert stale(toy, one) == "the code has changed since"


def test_imports_inside_functions_are_followed(toy) -> None:
    toy.edit(
        '    """Count things."""\n',
        '    """Count things."""\n    from papers.toy import model  # noqa\n',
        "audits.py",
    )
    one = toy.record("counting", 0, {"count": 12.0, "excess": 0.0})
    toy.edit(*REAL["number"], "model.py")
    assert stale(toy, one) == "the code has changed since"


def test_the_harness_is_part_of_the_code_where_results_depend_on_it(toy) -> None:
    toy.edit(
        "import numpy as np\n",
        "import numpy as np\n\nfrom repro import context, ensemble, errors  # noqa\n",
        "experiments.py",
    )
    modules = set(code_modules("papers.toy.experiments", toy.root))
    assert modules == {"papers.toy.experiments", "papers.toy.model", "repro.ensemble"}


def test_data_matters(toy) -> None:
    toy.give_data("1.5")
    outcome = toy.run("quick", "reading")
    assert len(outcome.written) == 2
    assert toy.verdicts()["D1"].outcome == "reproduced"
    toy.give_data("1.75")
    evidence = gather(toy.project, toy.ledger, toy.folder)
    assert {why for _, why in evidence.stale} == {"the data has changed since"}
    verdict = toy.verdicts()["D1"]
    assert verdict.outcome == "not_run"
    assert "stale" in verdict.reasons[0]
    assert "data has changed" in verdict.reasons[0]
    assert toy.run("quick", "reading").present == 0
    assert toy.verdicts()["D1"].measured == pytest.approx(1.755)


def test_pointer_that_is_gone(toy) -> None:
    toy.give_data()
    toy.run("quick", "reading")
    (toy.root / "data" / "corpus.dvc").unlink()
    evidence = gather(toy.project, toy.ledger, toy.folder)
    assert [len(evidence.records), len(evidence.stale)] == [0, 2]


def test_experiment_that_is_gone(toy) -> None:
    one = replace(toy.record("train", 0, {"accuracy": 80.0}), experiment="trian")
    assert stale(toy, one) == "its experiment is gone"


def test_stale_records_are_set_aside_and_computed_again(toy) -> None:
    toy.run("quick", "counting")
    toy.edit('"count": 12', '"count": 13', "audits.py")
    verdict = toy.verdicts()["A1"]
    assert (verdict.outcome, verdict.measured) == ("not_run", None)
    outcome = toy.run("quick", "counting")
    assert (len(outcome.written), outcome.present) == (2, 0)
    assert toy.verdicts()["A1"].outcome == "contradicted"


def test_code_that_does_not_parse_is_a_users_mistake(toy) -> None:
    toy.run("quick", "counting")
    toy.write("audits.py", "def counting(:\n")
    with pytest.raises(ReproError, match=rf"{toy.path('audits')}:1: "):
        gather(toy.project, toy.ledger, toy.folder)


def test_freshness_is_not_looked_up_for_every_record(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand records would otherwise cost minutes before anything runs."""
    import repro.freshness

    toy.run("full", "train")
    asked: list[str] = []
    monkeypatch.setattr(repro.freshness, "code_hash", lambda *a: (asked.append(a[1]), code_hash(*a))[1])
    gather(toy.project, toy.ledger, toy.folder)
    in_judge = len(asked)
    outcome = toy.run("full", "train")
    assert (outcome.present, outcome.written) == (70, [])
    assert in_judge <= 1
    assert len(asked) - in_judge <= 1


# ------------------------------------------------------------------ the code hash itself

EVERYTHING = '''
"""A docstring."""
from __future__ import annotations
import numpy as np  # a comment
@decorator(1, key=b"x")
class A(B, metaclass=C):
    "Docstring."
    x: int = 1_000
    async def f(self, a, /, b: int = 2, *args, c=3.5, **kw) -> None:
        """Docstring."""
        async with a as b, c:
            return await f"{a!r:>{b}} {c=}" "tail"
def g():
    yield from (x for x in y if x not in (None, ..., True, 1j, u"u", -0.0))
    try: a[1:2, ::3] = [*b, lambda: 0]
    except* (ValueError, KeyError) as e: raise E from e
    finally: del x; assert x, "no"; global q; nonlocal_ = 1
    match p:
        case {"a": [1, *rest], **kw} if rest: pass
        case Point(x=0) | None as z: ...
    while (n := n - 1) > 0 < 1: continue
    else: x @= 3
'''


def test_hash_is_the_same_in_all_python_versions() -> None:
    """By construction: fields that are empty or None are left out, so a field that a new version adds is too.

    The frozen digest was made with Python 3.11; any other version that runs this test must find it, too.
    """
    import hashlib

    described = repr(provenance._describe(ast.parse(EVERYTHING)))
    for absent in (
        "lineno",
        "col_offset",
        "ctx",
        "type_ignores",
        "type_params",
        "kind",
        "Docstring",
        "docstring",
    ):
        assert absent not in described
    assert hashlib.sha256(described.encode()).hexdigest()[:16] == "03f5b16ecc43128e"


def test_hash_does_not_rest_on_ast_dump(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text differs between versions: 3.13 leaves out empty lists."""
    before = code_hash("toy", "experiments.train", toy.root)
    provenance._read.cache_clear()
    monkeypatch.setattr(ast, "dump", lambda *_, **__: pytest.fail("ast.dump was used"))
    monkeypatch.setattr(ast, "unparse", lambda *_, **__: pytest.fail("ast.unparse was used"))
    assert code_hash("toy", "experiments.train", toy.root) == before
    provenance._read.cache_clear()


class FutureNode(ast.AST):
    """What a later Python might parse `pass` into: the same with one more, empty, field."""

    _fields = ("news", "tags")


def test_empty_fields_of_later_versions_do_not_count() -> None:
    empty, full = FutureNode(), FutureNode()
    empty.news, empty.tags = None, []
    full.news, full.tags = None, [ast.Pass()]
    assert provenance._describe(empty) == ("FutureNode", ())
    assert provenance._describe(full) != provenance._describe(empty)


def test_hash_is_the_same_in_another_process(toy) -> None:
    """No hash seed, no order of a set gets in."""
    code = (
        "import sys; from pathlib import Path; from repro.provenance import code_hash;"
        "print(code_hash('toy', 'experiments.train', Path(sys.argv[1])))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(toy.root)],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == code_hash("toy", "experiments.train", toy.root)


def test_environment_names_nobody(toy) -> None:
    import getpass
    import platform

    found = provenance.environment(toy.root, "cpu", 2)
    text = json.dumps({k: v for k, v in found.items() if k not in ("processor", "system")})
    assert platform.node() not in text
    assert getpass.getuser() not in text
    assert str(Path.home()) not in text
    assert found["commit"] is None, "outside git"
    assert (found["threads"], found["device"]) == (2, "cpu")
