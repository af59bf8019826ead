"""Claims and deviations as HTML tables: published, reference, yours. All text is escaped by the template."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from repro import words
from repro.judge import Evidence, Verdict, effects
from repro.ledger import Claim, Ledger


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Return the page templates; every value they show is escaped."""
    environment = Environment(
        loader=PackageLoader("repro.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(number=words.number, interval=words.interval)
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
            "unit": ledger.quantities[claim.measure.quantity].unit,
            "published": _published(claim),
            "verdicts": {source: found[claim.id] for source, found in verdicts.items()},
        }
        for claim in ledger.all_claims()
    ]
    return templates().get_template("claims.html").render(rows=rows, sources=list(verdicts))


def _published(claim: Claim) -> str:
    number = getattr(claim, "published", None)
    if number is not None:
        spread = f" ± {words.number(number.dispersion)}" if number.dispersion is not None else ""
        kind = f" ({number.dispersion_kind})" if number.dispersion_kind else ""
        return f"{words.number(number.value)}{spread}{kind}"
    if claim.kind == "threshold":
        return f"{claim.direction} {words.number(claim.bound)}"
    if claim.kind == "scaling":
        return f"slope {words.number(claim.slope)}"
    if claim.kind == "curve":
        return "best at " + " or ".join(words.number(x) for x in claim.peak)
    if claim.kind == "ordering" and claim.at_least:
        return f"by {words.number(claim.at_least)} or more"
    return ""


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
