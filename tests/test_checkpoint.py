"""A killed training goes on from where it was; what it kept is believed only for the same work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repro.checkpoint import Checkpoint
from repro.context import Context, Work


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "a" / "t.pt", every=0.0)
    assert checkpoint.load() is None
    checkpoint.save(lambda: {"step": 7, "x": torch.arange(3), "none": None})
    found = Checkpoint(tmp_path / "a" / "t.pt").load()
    assert (found["step"], found["x"].tolist(), found["none"]) == (7, [0, 1, 2], None)


def test_a_short_training_writes_nothing(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "t.pt", every=3600.0)
    checkpoint.save(lambda: pytest.fail("nobody asked for it"))
    checkpoint.save(lambda: pytest.fail("nobody asked for it"), ended=True)
    assert list(tmp_path.iterdir()) == []


def test_a_long_trainings_end_is_saved(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "t.pt", every=0.0)
    checkpoint.save(lambda: 1)
    checkpoint.every = 3600.0
    checkpoint.save(lambda: 2)
    assert checkpoint.load() == 1
    checkpoint.save(lambda: 3, ended=True)
    assert checkpoint.load() == 3


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_one_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.pt").write_bytes(content)
    assert Checkpoint(tmp_path / "t.pt").load() is None


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "touched",)

    torch.save(Touch(), tmp_path / "t.pt")
    assert Checkpoint(tmp_path / "t.pt").load() is None
    assert not (tmp_path / "touched").exists()


def test_nothing_is_kept_without_a_folder(tmp_path: Path) -> None:
    work = Work()
    work.checkpoint.save(lambda: pytest.fail("nobody asked for it"), ended=True)
    assert work.checkpoint.load() is work.part(0, 2).checkpoint.path is None


def test_parts_have_files_of_their_own_and_share_the_progress(tmp_path: Path) -> None:
    told: list[float] = []
    work = Work(told.append, Checkpoint(tmp_path / "training.pt", every=5.0))
    second = work.part(1, 4)
    second.tick(0.5)
    assert told == [0.375]
    assert second.checkpoint.path == tmp_path / "training-1.pt"
    assert second.checkpoint.every == 5.0
    assert second.part(0, 2).checkpoint.path == tmp_path / "training-1-0.pt"


def test_the_end_of_a_part_is_saved_however_short(tmp_path: Path) -> None:
    work = Work(checkpoint=Checkpoint(tmp_path / "training.pt", every=3600.0))
    parts = [work.part(i, 2).checkpoint for i in range(2)]
    parts[0].save(lambda: pytest.fail("nobody asked for it"))
    parts[0].save(lambda: "done", ended=True)
    assert (parts[0].load(), parts[1].load()) == ("done", None)
    alone = Work(checkpoint=Checkpoint(tmp_path / "alone.pt")).part(0, 1)
    alone.checkpoint.save(lambda: pytest.fail("nothing follows it"), ended=True)


def test_the_time_of_all_tries_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("repro.checkpoint.time.monotonic", lambda: clock[0])
    told: list[float] = []
    for _ in range(3):  # each try takes five seconds
        checkpoint = Checkpoint(tmp_path / "t.pt", every=0.0, resumed=told.append)
        checkpoint.load()
        clock[0] += 5.0
        checkpoint.save(lambda: 1)
        clock[0] += 100.0  # until somebody begins again
    assert told == [5.0, 10.0]


def test_what_cannot_be_saved_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("repro.checkpoint.write_atomically", full)
    checkpoint = Checkpoint(tmp_path / "t.pt", every=0.0)
    with pytest.warns(UserWarning, match=r"t\.pt: the training goes on.*No space left"):
        checkpoint.save(lambda: 1)


def test_without_a_chunk_nothing_is_kept(tmp_path: Path) -> None:
    assert Context(tmp_path, kept=tmp_path / "kept").work.checkpoint.path is None


def test_a_chunks_files_go_when_it_is_done(tmp_path: Path) -> None:
    context = Context(tmp_path, kept=tmp_path / "kept")
    for chunk in context.chunks(range(4), 1, largest=2):
        path = context.work.checkpoint.path
        assert path is not None
        assert path.parent.name == "-".join(map(str, chunk))
        replace(context.work.checkpoint, every=0.0).save(lambda: 1)
        assert path.is_file()
    assert list((tmp_path / "kept").iterdir()) == []
