"""Runs beside each other, and those that measure time alone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from repro import turns


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [(False, False, False), (False, True, True), (True, False, True), (True, True, True)],
)
def test_who_waits_for_whom(
    first: bool, second: bool, waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "FILE", tmp_path / "lock")
    told, done = threading.Event(), threading.Event()

    def other() -> None:
        with turns.turn(second, told.set):
            done.set()

    with turns.turn(first, lambda: pytest.fail("nobody is in the way")):
        thread = threading.Thread(target=other)
        thread.start()
        if waits:
            assert told.wait(60)
            assert not done.is_set()
        else:
            assert done.wait(60)
    thread.join(60)
    assert done.is_set()
    assert told.is_set() == waits
