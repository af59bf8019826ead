"""Run experiments in a process of their own: a request on standard input, rows and code hashes on standard output.

``repro vouch`` runs this file twice, once with the code of an earlier commit on the path and once with today's. So it
may only use what both have, and is started by its path (``python -P``), not as a module of either.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from repro.context import Context
from repro.project import Project
from repro.provenance import code_hash


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the code hash of each function and, for each run asked for, seed to rows.

    Args:
        request: ``root`` and ``paper``; ``functions``, whose hashes are wanted; ``runs``, each with ``function``,
            ``setting`` and ``seeds``.
    """
    root, paper = Path(request["root"]), request["paper"]
    project, rows = Project(root), []
    for run in request["runs"]:
        function = project.function(paper, run["function"])
        found = dict(function(run["setting"], run["seeds"], Context(root)))
        rows.append({str(seed): found[seed] for seed in sorted(found)})
        print(
            f"{run['function']}: {len(rows)} of {len(request['runs'])} settings", file=sys.stderr, flush=True
        )
    return {"codes": {name: code_hash(paper, name, root) for name in request["functions"]}, "rows": rows}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
