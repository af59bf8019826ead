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
from repro.words import found, outcome_name, printed, unit_of

FORMATS = ("csv", "json", "parquet", "latex", "bibtex")


def rows(
    ledgers: Mapping[str, Ledger], verdicts: Sequence[Verdict], exceptions: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return one flat row per claim: statement, anchor, published, ours, verdict and why."""
    claims = {(paper, c.id): c for paper, ledger in ledgers.items() for c in ledger.all_claims()}
    table = []
    for verdict in verdicts:
        claim, plain = claims[verdict.paper, verdict.claim], verdict.as_json()
        low, high = plain["interval"] or (None, None)
        if low is None or high is None:  # of one run: an interval without an end is none
            low = high = None
        table.append(
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
                "where": verdict.where,
                "low": low,
                "high": high,
                "unit": unit_of(claim, ledgers[verdict.paper]),
                "found": found(claim, verdict, ledgers[verdict.paper]),
                "n": verdict.n,
                "tier": verdict.tier,
                "p_equivalence": plain["p_equivalence"],
                "p_outside": plain["p_outside"],
                "reasons": " ".join(verdict.reasons),
            }
        )
    return table


def export(kind: str, table: Sequence[Mapping[str, Any]], ledgers: Mapping[str, Ledger]) -> bytes:
    """Return a whole file of one of ``FORMATS``."""
    if kind == "json":
        return (json.dumps({"claims": list(table)}, indent=1, ensure_ascii=False) + "\n").encode()
    if kind == "bibtex":
        return ("\n\n".join(_entries(ledgers)) + "\n").encode()
    if kind == "latex":
        return _latex(table).encode()
    return _parquet(table) if kind == "parquet" else _csv(table).encode()


def _entries(ledgers: Mapping[str, Ledger]) -> list[str]:
    """Return every BibTeX entry once: a work may be cited by two papers, and BibTeX stops at a key given twice."""
    texts = [
        t for one in ledgers.values() for t in (one.paper.bibtex, *(w.bibtex for w in one.works.values()))
    ]
    entries = [entry.strip() for text in texts for entry in re.split(r"^(?=@)", text, flags=re.MULTILINE)]
    return list({entry.partition(",")[0]: entry for entry in reversed(entries) if entry}.values())[::-1]


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
    "√": r"$\surd$", "π": r"$\pi$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "λ": r"$\lambda$",
    "μ": r"$\mu$", "σ": r"$\sigma$", "τ": r"$\tau$", "α": r"$\alpha$", "ε": r"$\varepsilon$", "Δ": r"$\Delta$",
    "Σ": r"$\Sigma$", "∞": r"$\infty$", "→": r"$\to$", "∈": r"$\in$", "²": r"$^2$", "³": r"$^3$", "₀": r"$_0$",
    "₁": r"$_1$", "₂": r"$_2$", "Â": r"$\hat{A}$", "ĝ": r"$\hat{g}$", "°": r"$^\circ$",
}  # fmt: skip


def tex(text: object) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(letter, letter) for letter in str(text))


def _latex(table: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        r"% needs \usepackage{booktabs,longtable}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        r"\begin{longtable}{p{0.15\linewidth}p{0.31\linewidth}p{0.13\linewidth}p{0.18\linewidth}rp{0.1\linewidth}}",
        r"\toprule",
        r"claim & statement & published & ours (90\,\% interval) & $n$ & verdict \\",
        r"\midrule",
        r"\endhead",
    ]
    for row in table:
        # A name may be broken at its hyphens, as a word of a narrow column must be.
        name = tex(row["claim"]).replace("-", r"-\allowbreak{}").replace(r"\_", r"\_\allowbreak{}")
        cells = (
            row["statement"],
            row["published"],
            row["found"],
            row["n"] or "",
            outcome_name(row["outcome"]),
        )
        lines.append(" & ".join([name, *map(tex, cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{longtable}", ""])
