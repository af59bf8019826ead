"""Claims and deviations as HTML tables: published, reference, yours. All text is escaped by the template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from repro import words
from repro.deviations import effects
from repro.evidence import Evidence
from repro.judge import Verdict
from repro.known_exceptions import excuse
from repro.ledger import Ledger, Publication, Work


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Return the page templates; every value they show is escaped."""
    environment = Environment(
        loader=PackageLoader("repro.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(number=words.number, change=words.change, ticks=_ticks)
    environment.globals["marks"] = words.MARKS
    return environment


def _ticks(text: str) -> Markup:
    """Return text with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def arxiv_link(work: Publication | Work) -> str | None:
    """Return the address of the version of a work that the anchors mean."""
    return f"https://arxiv.org/abs/{work.arxiv}{work.version or ''}" if work.arxiv else None


def claims_table(
    ledger: Ledger, verdicts: Mapping[str, Mapping[str, Verdict]], exceptions: Mapping[str, str]
) -> str:
    """Return the table of all claims.

    Args:
        ledger: of the paper.
        verdicts: ``reference`` and perhaps ``yours`` to claim id to verdict.
        exceptions: claim id to why it is known to be contradicted.
    """
    rows = [
        {
            "claim": claim,
            "claimed": words.printed(claim),
            "verdicts": {source: found[claim.id] for source, found in verdicts.items()},
            "found": {
                source: words.found(claim, found[claim.id], ledger) for source, found in verdicts.items()
            },
            "excuse": {source: excuse(found[claim.id], exceptions) for source, found in verdicts.items()},
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
