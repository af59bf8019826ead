"""A training that is killed on the way and begun again, as its tests need it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.checkpoint import Checkpoint
from repro.context import Work


class Killed(Exception):
    """As by a signal."""


def killed_and_resumed(run: Callable[[Work], Any], path: Path, share: float) -> Any:
    """Run until a share of the work is done, then again with what was kept; return what the second try returns."""

    def kill(done: float) -> None:
        if done >= share:
            raise Killed

    with pytest.raises(Killed):
        run(Work(kill, Checkpoint(path, every=0.0)))
    assert path.is_file()
    first: list[float] = []
    found = run(Work(first.append, Checkpoint(path, every=0.0)))
    assert first[0] > share / 2, "it began anew"
    return found
