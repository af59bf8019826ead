"""What was found, in words generated from the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from repro.judge import Verdict
from repro.ledger import Ledger
from repro.words import interval, number, tally


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _measured(ledger: Ledger, verdict: Verdict) -> str:
    unit = ledger.quantities[ledger.claim(verdict.claim).measure.quantity].unit
    unit = "" if verdict.kind == "scaling" else unit
    text = number(verdict.measured, unit)
    if verdict.interval:
        text += f" {interval(verdict.interval)}"
    return text


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
        said = f"printed {number(verdict.published)}, " if verdict.published is not None else ""
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
            f"Better than published: “{claim.statement}”: printed {number(verdict.published)}, "
            f"found {_measured(ledger, verdict)}."
        )
    if by_outcome.get("reproduced"):
        ids = [v.claim for v in by_outcome["reproduced"]]
        texts.append(f"Reproduced: {_join(ids)}.")
    for verdict in by_outcome.get("blocked", []):
        texts.append(f"Blocked: “{ledger.claim(verdict.claim).statement}”: {verdict.reasons[0]}")
    if by_outcome.get("not_run"):
        texts.append(f"{len(by_outcome['not_run'])} claims have not been run in these records.")
    return texts
