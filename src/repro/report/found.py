"""What was found, in words generated from the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from repro.judge import Verdict
from repro.ledger import Ledger
from repro.words import interval, number, printed, tally, unit_of


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _measured(ledger: Ledger, verdict: Verdict) -> str:
    text = number(verdict.measured, unit_of(ledger.claim(verdict.claim), ledger))
    return f"{text} {interval(verdict.interval)}" if verdict.interval else text


KINDS = {
    "value": "values",
    "ordering": "orderings",
    "threshold": "bounds",
    "scaling": "growth laws",
    "curve": "shapes of curves",
    "generalisation": "generalisation in size",
    "property": "properties",
    "audit": "audits",
}


def _reproduced(every: Sequence[Verdict]) -> str:
    """Return how many claims of each kind hold: ``21 of 27 values``."""
    parts = []
    for kind, name in KINDS.items():
        all_of_kind = [v for v in every if v.kind == kind]
        held = sum(v.outcome == "reproduced" for v in all_of_kind)
        if held:
            parts.append(f"{held} of {len(all_of_kind)} {name}")
    return _join(parts)


def paragraphs(ledger: Ledger, verdicts: Iterable[Verdict], exceptions: Iterable[str] = ()) -> list[str]:
    """Return what the records say of a paper, the surprising first.

    Args:
        ledger: of the paper.
        verdicts: of all its claims.
        exceptions: ids of contradicted claims whose reason is known.
    """
    by_outcome: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_outcome.setdefault(str(verdict.outcome), []).append(verdict)
    every = [v for group in by_outcome.values() for v in group]
    texts = [f"Of {len(every)} claims: {tally(every)}."]
    known = set(exceptions)
    for verdict in by_outcome.get("contradicted", []):
        claim = ledger.claim(verdict.claim)
        said = f"printed {printed(claim)}, " if printed(claim) else ""
        note = " (a known exception)" if verdict.claim in known else ""
        reason = "" if verdict.kind in ("value", "audit") else f" {verdict.reasons[0]}"
        texts.append(
            f"Contradicted{note}: “{claim.statement}” ({claim.anchor.place}): {said}"
            f"found {_measured(ledger, verdict)}.{reason}"
        )
    for verdict in by_outcome.get("error", []):
        texts.append(f"In error: “{ledger.claim(verdict.claim).statement}”: {verdict.reasons[0]}")
    for verdict in by_outcome.get("inconclusive", []):
        claim = ledger.claim(verdict.claim)
        texts.append(f"Inconclusive: “{claim.statement}”: {verdict.reasons[0]}")
    for verdict in by_outcome.get("better", []):
        claim = ledger.claim(verdict.claim)
        texts.append(
            f"Better than published: “{claim.statement}”: printed {printed(claim)}, "
            f"found {_measured(ledger, verdict)}."
        )
    if by_outcome.get("reproduced"):
        texts.append(f"Reproduced: {_reproduced(every)}.")
    for verdict in by_outcome.get("blocked", []):
        texts.append(f"Blocked: “{ledger.claim(verdict.claim).statement}”: {verdict.reasons[0]}")
    if by_outcome.get("not_run"):
        texts.append(f"{len(by_outcome['not_run'])} claims have not been run in these records.")
    return texts
