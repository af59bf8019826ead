"""Run experiments in a process of their own: a request on standard input, rows and code hashes on standard output.

``repro vouch`` runs this file twice, once with the code of an earlier commit on the path and once with today's. So it
may only use what both have, and is started by its path (``python -P``), not as a module of either.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro.context import Context
from repro.project import Project
from repro.provenance import code_hash


class OutOfTime(BaseException):
    """The run's seconds are over. No experiment may take it for an error of its own."""


@contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTime in what runs inside once ``seconds`` are over; None waits for ever."""

    def end(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_time(function: Any, run: dict[str, Any], root: Path) -> dict[int, Any]:
    """Return seed to rows, of those chunks of seeds that are done within the run's seconds."""
    done: dict[int, Any] = {}
    found: dict[int, Any] = {}
    try:
        with at_most(run["seconds"]):
            for seed, rows in function(
                run["setting"], run["seeds"], Context(root, finished=lambda: done.update(found))
            ):
                found[seed] = rows
            done.update(found)
    except OutOfTime:
        pass
    return done


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the code hash of each function and, for each run asked for, seed to rows of what was done in time.

    Args:
        request: ``root`` and ``paper``; ``functions``, whose hashes are wanted; ``runs``, each with ``function``,
            ``setting``, ``seeds`` and ``seconds`` (None for no limit).
    """
    root, paper = Path(request["root"]), request["paper"]
    project, rows = Project(root), []
    codes = {name: code_hash(paper, name, root) for name in request["functions"]}
    for run in request["runs"]:
        function = project.function(paper, run["function"])
        found = in_time(function, run, root)
        rows.append({str(seed): found[seed] for seed in sorted(found)})
        print(
            f"{run['function']}: {len(rows)} of {len(request['runs'])} settings", file=sys.stderr, flush=True
        )
    if codes != {name: code_hash(paper, name, root) for name in request["functions"]}:
        sys.exit(f"{paper}: its code was edited while it ran; nothing can be said of either")
    return {"codes": codes, "rows": rows}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
