"""Letting records count again whose numbers a change of code leaves as they are."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Ask, Toy

from repro import recompute
from repro.context import Context
from repro.errors import RecordDamaged, ReproError
from repro.evidence import gather
from repro.freshness import Vouched, is_vouched_for, vouched_file
from repro.lineage import lineage
from repro.reference import keep
from repro.report.readme import BEGIN, END
from repro.vouch import Sample, done_by, samples, spread, vouch

LEAD = 'LEAD = {"a": 0.0, "b": 2.0, "c": 2.5}'
SAME = 'LEAD = dict(zip("abc", (0.0, 2.0, 2.5)))'
OTHER = 'LEAD = {"a": 0.0, "b": 2.0, "c": 2.5000001}'


def commit(root: Path) -> str:
    """Commit everything; return the commit."""
    for arguments in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-C", str(root), *arguments], check=True)
    head = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    return head.stdout.strip()


@pytest.fixture
def kept(toy: Toy) -> tuple[Toy, str]:
    """A toy with reference records, and the commit that made them."""
    toy.write("README.md", f"{BEGIN}\n{END}\n")
    toy.give_data()
    head = commit(toy.root)
    toy.run("full")
    keep(toy.project, "toy", toy.folder)
    return toy, head


def stale(toy: Toy) -> set[str]:
    return {record.experiment for record, _ in gather(toy.project, toy.ledger, toy.project.reference).stale}


def test_equal_numbers_let_records_count_again(kept: tuple[Toy, str]) -> None:
    toy, head = kept
    toy.edit(LEAD, SAME, "model.py")
    assert stale(toy) == {"train", "growth", "reading"}, "counting does not import the model"
    entries, said = vouch(toy.project, "toy", head)
    assert (said, stale(toy)) == ([], set())
    (train,) = (entry for entry in entries if entry.experiment == "train")
    assert train.settings >= 5, "each variant, level and label at least"
    assert train.records == 5 * train.settings


def test_other_numbers_stay_stale_and_are_named(kept: tuple[Toy, str]) -> None:
    toy, head = kept
    toy.edit(LEAD, OTHER, "model.py")
    entries, said = vouch(toy.project, "toy", head)
    assert {entry.experiment for entry in entries} == {"growth", "reading"}, "they do not use the lead"
    assert stale(toy) == {"train"}
    assert len(said) == 1
    assert "train" in said[0]
    assert "'variant': 'c'" in said[0]
    assert "accuracy: " in said[0]


def test_a_chain_of_changes(kept: tuple[Toy, str]) -> None:
    toy, head = kept
    toy.edit(LEAD, SAME, "model.py")
    vouch(toy.project, "toy", head)
    second = commit(toy.root)
    toy.edit(SAME, LEAD + "\nMORE = 1", "model.py")
    assert stale(toy) == {"train", "growth", "reading"}
    entries, said = vouch(toy.project, "toy", second)
    assert (len(entries), said, stale(toy)) == (3, [], set())
    evidence = gather(toy.project, toy.ledger, toy.project.reference)
    (origin,) = lineage(evidence, toy.ledger.claim("H1"), "full")
    assert len(origin.vouched) == 2
    assert "equal to the last bit" in origin.vouched[0]
    toy.run("full")
    keep(toy.project, "toy", toy.folder)
    assert toy.ledger, "its records were made before the changes, and stay"
    made_today = replace(
        gather(toy.project, toy.ledger, toy.project.reference),
        records=[replace(r, code=entries[0].after) for r in evidence.records],
    )
    (origin,) = lineage(made_today, toy.ledger.claim("H1"), "full")
    assert origin.vouched == [], "today's records went through no change"


def test_what_the_project_has_computed_before_is_not_read_again(toy: Toy) -> None:
    """An experiment keeps what it computes in the project's cache, by a key that knows no code."""
    toy.write("README.md", f"{BEGIN}\n{END}\n")
    toy.edit('LEAD[setting["variant"]]', 'kept(context.root)[setting["variant"]]', "experiments.py")
    toy.edit(
        "def train(",
        "def kept(root):\n"
        "    place = root / '.cache' / 'lead'\n"
        "    if not place.exists():\n"
        "        place.parent.mkdir(exist_ok=True)\n"
        "        place.write_text(repr(LEAD))\n"
        "    return eval(place.read_text())\n\n\n"
        "def train(",
        "experiments.py",
    )
    (toy.root / ".gitignore").write_text(".cache\n")
    toy.give_data()
    head = commit(toy.root)
    toy.run("full")
    keep(toy.project, "toy", toy.folder)
    assert (toy.root / ".cache" / "lead").exists()
    toy.edit(LEAD, OTHER, "model.py")
    _, said = vouch(toy.project, "toy", head)
    assert stale(toy) == {"train"}
    assert "accuracy: " in said[0]


def test_a_commit_that_made_no_record(kept: tuple[Toy, str]) -> None:
    toy, _ = kept
    toy.edit(LEAD, OTHER, "model.py")
    with pytest.raises(ReproError, match="no stale record of toy was made by its code"):
        vouch(toy.project, "toy", commit(toy.root))
    with pytest.raises(ReproError, match="git has no such commit"):
        vouch(toy.project, "toy", "nonsense")
    assert not vouched_file(toy.project.reference, "toy").exists()


def test_measured_times_are_not_compared(kept: tuple[Toy, str]) -> None:
    toy, head = kept
    toy.edit("    index: size\n", "    index: size\n    alone: true\n")
    toy.edit(LEAD, SAME, "model.py")
    _, said = vouch(toy.project, "toy", head)
    assert stale(toy) == {"growth"}
    assert "growth: it measures time" in said[0]


def test_a_note_that_cannot_be_read_is_refused(kept: tuple[Toy, str]) -> None:
    toy, _ = kept
    vouched_file(toy.project.reference, "toy").write_text("[{]")
    with pytest.raises(RecordDamaged, match="cannot be read"):
        stale(toy)


def test_another_experiments_change_vouches_for_nothing(toy: Toy) -> None:
    record = toy.record("train", 0, {"accuracy": 80.0}, code="old")
    change = Vouched("growth", "old", "new", 1, 1, "2026-01-01", {})
    assert not is_vouched_for([change], record, "new")
    assert is_vouched_for([Vouched(**{**asdict(change), "experiment": "train"})], record, "new")


def test_the_sample_goes_through_every_value_first() -> None:
    settings = [{"a": a, "b": b} for a in range(5) for b in range(5)]
    chosen = spread(settings, 10)
    assert len(chosen) == 10
    assert {s["a"] for s in chosen} == {s["b"] for s in chosen} == set(range(5))
    assert chosen == spread(reversed(settings), 10)


def test_the_sample_takes_the_first_seeds(toy: Toy) -> None:
    records = [toy.record("train", seed, {"accuracy": 80.0}) for seed in (7, 3, 5, 9, 8, 6)]
    (sample,) = samples(toy.ledger, records)
    assert sample.seeds == [3, 5, 6, 7, 8]


def test_the_sample_takes_no_longer_than_two_minutes_or_is_the_cheapest_setting(toy: Toy) -> None:
    records = [
        toy.record("train", 0, {"accuracy": 80.0}, {"level": float(level)}, seconds=50.0)
        for level in range(5)
    ]
    assert len(samples(toy.ledger, records)) == 2
    dear = [replace(record, seconds=500.0 + record.setting["level"]) for record in records]
    (cheapest,) = samples(toy.ledger, dear)
    assert cheapest.setting["level"] == 0.0


def test_what_the_earlier_code_has_not_done_in_time_is_left_out(tmp_path: Path) -> None:
    """Whole chunks only: within one, the seeds that come first are those whose training was short."""

    def slow(setting: dict[str, Any], seeds: list[int], context: Context) -> Iterator[tuple[int, Any]]:
        for chunk in context.chunks(seeds, 1, largest=2):
            for seed in chunk:
                if seed == setting["ends_at"]:
                    raise recompute.OutOfTime
                yield seed, {"accuracy": 1.0 + seed}

    run = {"setting": {"ends_at": 5}, "seeds": [0, 1, 2, 3, 4, 5], "seconds": None}
    assert set(recompute.in_time(slow, run, tmp_path)) == {0, 1, 2, 3}, "4 is of the chunk that was not done"
    assert not recompute.in_time(slow, {**run, "setting": {"ends_at": 0}}, tmp_path)
    assert set(recompute.in_time(slow, {**run, "setting": {"ends_at": None}}, tmp_path)) == {0, 1, 2, 3, 4, 5}
    with pytest.raises(recompute.OutOfTime), recompute.at_most(0.01):
        time.sleep(60)

    asked = [Sample("train", "f", {"a": a}, [0, 1, 2], 60.0) for a in range(3)]
    runs, before = done_by(asked, [{"0": {}, "1": {}}, {}, {"0": {}, "1": {}, "2": {}}])
    assert [(run.setting["a"], run.seeds, run.seconds) for run in runs] == [
        (0, [0, 1], None),
        (2, [0, 1, 2], None),
    ]
    assert [len(rows) for rows in before] == [2, 3]


def test_an_experiment_of_which_nothing_was_done_in_time_stays_stale(
    kept: tuple[Toy, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, head = kept
    toy.edit(LEAD, SAME, "model.py")
    monkeypatch.setattr("repro.vouch.MINUTE", 1e-6)
    monkeypatch.setattr("repro.vouch.PATIENCE", 0.0)
    entries, said = vouch(toy.project, "toy", head)
    assert not entries
    assert stale(toy) == {"train", "growth", "reading"}
    assert len(said) == 3
    assert "growth: none of the sample was done" in said[0]


def test_command_line(kept: tuple[Toy, str], ask: Callable[..., Ask]) -> None:
    toy, head = kept
    toy.edit(LEAD, OTHER, "model.py")
    answer = ask("vouch", "toy", "--since", head)
    assert answer.code == 1
    assert "growth: " in answer.out
    assert "train: " in answer.err
    (entry, *_) = json.loads(vouched_file(toy.project.reference, "toy").read_text())
    assert entry["environment"]["commit"].startswith(head[:7])
