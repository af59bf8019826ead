"""All benchmarks, one line each, and ``results/bench.json``: ``python benchmarks/run.py [--quick] [--only NAME]``.

Exit codes: 0 done, benchmarks without their data left out; 1 two sides disagree, nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in place of this folder: `benchmarks` and `papers` are folders of the project

from benchmarks import (  # noqa: E402
    dictionary_pyg,
    diffusion_diffusers,
    gat_pyg,
    gcn_pyg,
    graph_networks_pyg,
    graph_transformer_pyg,
    memory,
    quick_tiers,
)
from benchmarks.peer import Comparison, DisagreementError, entries, progress, report  # noqa: E402
from repro.errors import DataUnavailable, ReproError  # noqa: E402
from repro.heap import keep_freed  # noqa: E402
from repro.records import write_atomically  # noqa: E402

Benchmark = Callable[[Path, bool], Iterator[Comparison]]
MODULES = (
    gcn_pyg,
    memory,
    gat_pyg,
    dictionary_pyg,
    graph_networks_pyg,
    diffusion_diffusers,
    graph_transformer_pyg,
    quick_tiers,
)
BENCHMARKS: dict[str, Benchmark] = {
    module.__name__.removeprefix("benchmarks."): module.comparisons for module in MODULES
}


def run(benchmarks: Sequence[Benchmark], root: Path, output: Path, quick: bool = False) -> int:
    """Run the benchmarks, print their lines, write the file; return the exit code."""
    done: list[Comparison] = []
    for benchmark in benchmarks:
        try:
            for comparison in benchmark(root, quick):
                done.append(report(comparison))
        except DataUnavailable as missing:
            progress(f"left out: {missing}")
        except (DisagreementError, ReproError) as error:
            progress(f"stopped, {output} is not written: {error}")
            return 1
    write_atomically(output, (json.dumps(entries(done), indent=1) + "\n").encode())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run all benchmarks."""
    parser = argparse.ArgumentParser(description="Compare our speed and memory with a peer's.")
    parser.add_argument("--quick", action="store_true", help="a few epochs and seeds, to see that it works")
    parser.add_argument(
        "--only", action="append", choices=tuple(BENCHMARKS), help="this one; repeat it for several"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "results" / "bench.json", help="the file (%(default)s)"
    )
    options = parser.parse_args(arguments)
    keep_freed()  # as `repro run` does; both sides gain by it
    chosen = [BENCHMARKS[name] for name in options.only or BENCHMARKS]
    return run(chosen, ROOT, options.output, options.quick)


if __name__ == "__main__":
    sys.exit(main())
