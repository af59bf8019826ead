"""Claims and deviations as HTML tables: published, reference, yours. All text is escaped by the template."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from repro import words
from repro.deviations import effects
from repro.evidence import Evidence
from repro.judge import Verdict
from repro.ledger import Ledger


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Return the page templates; every value they show is escaped."""
    environment = Environment(
        loader=PackageLoader("repro.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(number=words.number, interval=words.interval, change=words.change)
    environment.globals["marks"] = words.MARKS
    return environment


def arxiv_link(ledger: Ledger) -> str | None:
    """Return the address of the version of the paper that the anchors mean."""
    paper = ledger.paper
    return f"https://arxiv.org/abs/{paper.arxiv}{paper.version or ''}" if paper.arxiv else None


def claims_table(ledger: Ledger, verdicts: Mapping[str, Mapping[str, Verdict]]) -> str:
    """Return the table of all claims.

    Args:
        ledger: of the paper.
        verdicts: ``reference`` and perhaps ``yours`` to claim id to verdict.
    """
    rows = [
        {
            "claim": claim,
            "unit": words.unit_of(claim, ledger),
            "published": words.printed(claim),
            "verdicts": {source: found[claim.id] for source, found in verdicts.items()},
        }
        for claim in ledger.all_claims()
    ]
    return (
        templates()
        .get_template("claims.html")
        .render(rows=rows, sources=list(verdicts), paper=ledger.paper.id)
    )


def deviations_table(evidence: Evidence) -> str:
    """Return what paper, released code and we do, with the measured effect of each alternative."""
    measured: dict[str, list[Any]] = {}
    for effect in effects(evidence):
        measured.setdefault(effect.deviation, []).append(effect)
    return (
        templates()
        .get_template("deviations.html")
        .render(
            deviations=evidence.ledger.deviations, effects=measured, quantities=evidence.ledger.quantities
        )
    )
