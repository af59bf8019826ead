"""How long each paper's quick tier takes, as a share of what it may take on two cores."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peer import Comparison, progress
from repro.errors import DataUnavailable, ReproError
from repro.records import read_problems

MINUTES = {"gcn": 5, "gat": 5, "graph_networks": 8, "diffusion": 6, "graph_transformer": 6}


def seconds(root: Path, paper: str, tier: str) -> float:
    """Return how long ``repro run`` takes for a tier of a paper, without any record to begin with.

    Raises:
        DataUnavailable: if data is missing, so that the time says nothing.
        ReproError: if an experiment failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "repro.cli", "run", paper, "--tier", tier, "--out", folder]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=root, stdout=subprocess.DEVNULL)
        taken = time.perf_counter() - started
        problems = read_problems(Path(folder), paper)
    blocked = [problem["message"] for problem in problems.values() if problem["state"] == "blocked"]
    if done.returncode:
        raise ReproError(f"the {tier} tier of {paper} failed, see above")
    if blocked:
        raise DataUnavailable(f"a part of the {tier} tier of {paper}: {blocked[0]}")
    return taken


def comparisons(root: Path, quick: bool = False) -> Iterator[Comparison]:
    """Yield each quick tier's share of its limit: below 1 is what we want here.

    All counts that a user waits for: start of the program, reading data, simulating, training, writing records.
    """
    for paper, limit in MINUTES.items():
        taken = seconds(root, paper, "smoke" if quick else "quick")
        progress(f"{paper}: {taken:.0f} s, may take {60 * limit}")
        yield Comparison(f"{paper}, quick tier, share of {limit} minutes", (taken / 60 / limit,))
