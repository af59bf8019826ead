"""A badge per paper: an SVG of its own, and the JSON that badge services read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from repro.judge import Verdict
from repro.ledger import Ledger
from repro.records import write_atomically
from repro.report.tables import templates

# Of 11 px DejaVu or Verdana, on average; the text is stretched to fit what is said here.
WIDTH_OF_A_LETTER = 6.6


def message(verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """Return what a badge says of a paper, and its colour; what was not settled counts for neither side."""
    counts = Counter(str(v.outcome) for v in verdicts)
    held, against = counts["reproduced"] + counts["better"], counts["contradicted"]
    if counts["error"]:
        return f"{counts['error']} of {len(verdicts)} claims in error", "#8b1a00"
    if not held and not against:
        return "nothing settled", "#666666"
    open_ = len(verdicts) - held - against
    said = [f"{held} hold", f"{against} contradicted" if against else "", f"{open_} open" if open_ else ""]
    return ", ".join(filter(None, said)), "#a84a00" if against else "#00664a"


def write_badges(folder: Path, ledger: Ledger, verdicts: Sequence[Verdict]) -> list[Path]:
    """Write ``<paper>.svg`` and ``<paper>.json`` (the schema of shields.io's endpoint badges).

    A paper's badge speaks of its own claims; checks of ours are not counted.
    """
    label = ledger.paper.id.replace("_", " ")
    own = {claim.id for claim in ledger.all_claims() if claim.anchor.evidence != "ours"}
    text, colour = message([v for v in verdicts if v.claim in own])
    widths = [round(len(part) * WIDTH_OF_A_LETTER + 12) for part in (label, text)]
    svg = templates().get_template("badge.svg").render(label=label, text=text, colour=colour, widths=widths)
    endpoint = {"schemaVersion": 1, "label": label, "message": text, "color": colour.removeprefix("#")}
    written = [folder / f"{ledger.paper.id}.svg", folder / f"{ledger.paper.id}.json"]
    write_atomically(written[0], svg.encode())
    write_atomically(written[1], (json.dumps(endpoint) + "\n").encode())
    return written
