"""What was found, in words generated from the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from repro.claims import Claim, GeneralisationClaim
from repro.judge import Verdict
from repro.ledger import Ledger
from repro.words import found, lesser_tier, printed, tally


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


KINDS = {
    "value": "values",
    "ordering": "orderings",
    "threshold": "bounds",
    "scaling": "growth laws",
    "curve": "shapes of curves",
    "generalisation, holds": "claims that a size carries over",
    "generalisation, breaks": "claims that a size does not carry over",
    "property": "properties",
    "audit": "audits",
}


def kind_of(claim: Claim) -> str:
    """Return a claim's kind; that a size carries over and that it does not are two."""
    return f"{claim.kind}, {claim.expect}" if isinstance(claim, GeneralisationClaim) else claim.kind


def _reproduced(ledger: Ledger, every: Sequence[Verdict]) -> str:
    """Return how many claims of each kind hold: ``21 of 27 values``."""
    parts = []
    for kind, name in KINDS.items():
        all_of_kind = [v for v in every if kind_of(ledger.claim(v.claim)) == kind]
        held = sum(v.outcome == "reproduced" for v in all_of_kind)
        if held:
            parts.append(f"{held} of {len(all_of_kind)} {name}")
    return _join(parts)


def by_outcome(
    ledger: Ledger, verdicts: Iterable[Verdict], exceptions: Iterable[str] = ()
) -> dict[str, list[str]]:
    """Return what the records say of a paper by outcome, the surprising first; ``all`` counts everything.

    Args:
        ledger: of the paper.
        verdicts: of all its claims.
        exceptions: ids of contradicted claims whose reason is known.
    """
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(str(verdict.outcome), []).append(verdict)
    every = [v for group in groups.values() for v in group]
    known = set(exceptions)
    ours = [v for v in every if ledger.claim(v.claim).anchor.evidence == "ours"]
    of_these = f" {len(ours)} of them are checks of ours: {tally(ours)}." if ours else ""
    tables = {table.id for table in ledger.tables}
    cells = [v for v in every if ledger.claim(v.claim).family in tables]
    in_tables = f" Of the {len(cells)} cells of printed tables: {tally(cells)}." if cells else ""
    texts = {"all": [f"Of {len(every)} claims: {tally(every)}.{of_these}{in_tables}"]}

    def tell(outcome: str, words: Callable[[Verdict, Claim], str]) -> None:
        texts[outcome] = [words(v, ledger.claim(v.claim)) for v in groups.get(outcome, [])]

    tell("contradicted", lambda v, claim: _contradicted(ledger, v, claim, v.claim in known))
    tell("error", lambda v, claim: f"In error: “{claim.statement}”: {v.reasons[0]}")
    tell("inconclusive", lambda v, claim: f"Inconclusive: “{claim.statement}”: {v.reasons[0]}")
    tell(
        "better",
        lambda v, claim: (
            f"Better than published: “{claim.statement}”: printed {printed(claim)}, found {found(claim, v, ledger)}."
        ),
    )
    texts["reproduced"] = [f"Reproduced: {_reproduced(ledger, every)}."] if groups.get("reproduced") else []
    tell("blocked", lambda v, claim: f"Blocked: “{claim.statement}”: {v.reasons[0]}")
    missing = len(groups.get("not_run", []))
    texts["not_run"] = [f"{missing} claims have not been run in these records."] if missing else []
    return texts


def _contradicted(ledger: Ledger, verdict: Verdict, claim: Claim, known: bool) -> str:
    side = "printed" if claim.kind in ("value", "audit") and claim.anchor.evidence != "ours" else "asked for"
    said = f"{side} {printed(claim)}, " if printed(claim) else ""
    note = " (a known exception)" if known else ""
    reason = "" if verdict.kind in ("value", "audit") else f" {verdict.reasons[0]}"
    value = ", ".join(filter(None, [found(claim, verdict, ledger), lesser_tier(verdict)]))
    return f"Contradicted{note}: “{claim.statement}” ({claim.anchor.place}): {said}found {value}.{reason}"


def paragraphs(ledger: Ledger, verdicts: Iterable[Verdict], exceptions: Iterable[str] = ()) -> list[str]:
    """Return all of :func:`by_outcome`, one text after the other."""
    return [text for texts in by_outcome(ledger, verdicts, exceptions).values() for text in texts]
