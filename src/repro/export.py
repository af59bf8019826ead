"""All claims and verdicts for other programs: CSV, JSON, Parquet, a LaTeX table, BibTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from repro.judge import Verdict
from repro.known_exceptions import excuse
from repro.ledger import Ledger
from repro.words import interval, number, outcome_name, printed, unit_of

FORMATS = ("csv", "json", "parquet", "latex", "bibtex")


def rows(
    ledgers: Mapping[str, Ledger], verdicts: Sequence[Verdict], exceptions: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return one flat row per claim: statement, anchor, published, ours, verdict and why."""
    claims = {(paper, c.id): c for paper, ledger in ledgers.items() for c in ledger.all_claims()}
    found = []
    for verdict in verdicts:
        claim, plain = claims[verdict.paper, verdict.claim], verdict.as_json()
        low, high = plain["interval"] or (None, None)
        found.append(
            {
                "paper": verdict.paper,
                "claim": claim.id,
                "kind": claim.kind,
                "statement": claim.statement,
                "place": claim.anchor.place,
                "page": claim.anchor.page,
                "evidence": claim.anchor.evidence,
                "outcome": str(verdict.outcome),
                "known_exception": excuse(verdict, exceptions),
                "published": printed(claim),
                "published_value": plain["published"],
                "margin": plain["margin"],
                "measured": plain["measured"],
                "low": low,
                "high": high,
                "unit": unit_of(claim, ledgers[verdict.paper]),
                "n": verdict.n,
                "tier": verdict.tier,
                "p_equivalence": plain["p_equivalence"],
                "p_outside": plain["p_outside"],
                "reasons": " ".join(verdict.reasons),
            }
        )
    return found


def export(kind: str, table: Sequence[Mapping[str, Any]], ledgers: Mapping[str, Ledger]) -> bytes:
    """Return a whole file of one of ``FORMATS``."""
    if kind == "json":
        return (json.dumps({"claims": list(table)}, indent=1, ensure_ascii=False) + "\n").encode()
    if kind == "bibtex":
        return (
            "\n\n".join(
                bibtex.strip()
                for ledger in ledgers.values()
                for bibtex in (ledger.paper.bibtex, *(work.bibtex for work in ledger.works.values()))
            )
            + "\n"
        ).encode()
    if kind == "latex":
        return _latex(table).encode()
    return _parquet(table) if kind == "parquet" else _csv(table).encode()


def _csv(table: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(table[0]) if table else ["claim"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def _parquet(table: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    floats = {"published_value", "margin", "measured", "low", "high", "p_equivalence", "p_outside"}
    schema = pa.schema(
        [
            (name, pa.float64() if name in floats else pa.int64() if name in ("page", "n") else pa.string())
            for name in (table[0] if table else [])
        ]
    )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in table], schema=schema), sink)
    return sink.getvalue().to_pybytes()


SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "≤": r"$\leq$", "≥": r"$\geq$", "*": r"\textasteriskcentered{}",
}  # fmt: skip


def tex(text: object) -> str:
    """Return text that LaTeX prints as it is."""
    return re.sub(r"[\\&%$#_{}~^<>±×−≤≥*]", lambda found: SPECIAL[found[0]], str(text))


def _latex(table: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        r"% needs \usepackage{booktabs,longtable}",
        r"\begin{longtable}{lp{0.36\linewidth}llrl}",
        r"\toprule",
        r"claim & statement & published & ours (90\,\% interval) & $n$ & verdict \\",
        r"\midrule",
        r"\endhead",
    ]
    for row in table:
        ends = None if row["low"] is None else (row["low"], row["high"])
        ours = f"{number(row['measured'], row['unit'])} {interval(ends)}".strip()
        cells = (
            row["claim"], row["statement"], row["published"], ours, row["n"] or "", outcome_name(row["outcome"]),
        )  # fmt: skip
        lines.append(" & ".join(map(tex, cells)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{longtable}", ""])
