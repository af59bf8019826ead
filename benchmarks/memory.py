"""Peak memory of many seeds on Pubmed, in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peer import Comparison, progress
from repro.data.fetch import require

LIMIT = 4 * 2**30
ROOT = Path(__file__).resolve().parents[1]


def peak_bytes() -> int:
    """Return the most memory that this process ever held.

    On Linux from its status: there ``ru_maxrss`` of a process includes that of the one it was started from,
    and ours may have grown large with other benchmarks.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        maxrss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return maxrss if sys.platform == "darwin" else maxrss * 1024


def train(root: Path, dataset: str, seeds: int, epochs: int) -> int:
    """Run the ``citation`` experiment as ``repro run`` does and return this process's peak in bytes.

    A few epochs are enough: more of them hold hardly more.
    """
    from repro.context import Context, available_memory
    from repro.heap import keep_freed
    from repro.project import Project

    keep_freed()
    project = Project(root)
    plan = project.ledger("gcn").experiments["citation"]
    setting = {**plan.setting, "dataset": dataset, "epochs": epochs, "early_stopping": "none"}
    context = Context(root, "cpu", available_memory())
    rows = list(project.function("gcn", plan.function)(setting, range(seeds), context))
    assert len(rows) == seeds
    return peak_bytes()


def measure(root: Path, dataset: str, seeds: int, epochs: int) -> int:
    """Return the peak in bytes of :func:`train` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", str(root), dataset, str(seeds), str(epochs)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1])


def comparisons(root: Path, quick: bool = False) -> Iterator[Comparison]:
    """Yield the share of 4 GiB that 100 seeds on Pubmed need: below 1 is what we want here.

    Raises:
        DataUnavailable: if Pubmed cannot be had.
    """
    require("planetoid", root)
    seeds, epochs, repeats = (4, 2, 1) if quick else (100, 5, 3)
    peaks = []
    for repeat in range(repeats):
        peaks.append(measure(root, "pubmed", seeds, epochs))
        progress(f"Pubmed: {repeat + 1}/{repeats}, {seeds} seeds, peak {peaks[-1] / 2**30:.2f} GiB")
    yield Comparison(
        f"peak memory of {seeds} seeds on Pubmed, share of 4 GiB", tuple(peak / LIMIT for peak in peaks)
    )


if __name__ == "__main__":
    print(train(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
