"""Verdicts as Markdown, for the page that a CI job shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repro.claims import Claim
from repro.judge import Verdict
from repro.known_exceptions import excuse
from repro.ledger import Ledger
from repro.words import OUTCOMES, found, markdown, marked, printed, tally

MOST = 200  # lines; what a job may show is limited


def summary(ledgers: Mapping[str, Ledger], verdicts: Sequence[Verdict], exceptions: Mapping[str, str]) -> str:
    """Return one section per paper: the count of verdicts, and a line for each claim that needs attention.

    Args:
        ledgers: by paper.
        verdicts: of these papers.
        exceptions: contradicted claims whose reason is known.
    """
    lines = ["## Claims", ""]
    for paper, ledger in ledgers.items():
        mine = [v for v in verdicts if v.paper == paper]
        lines += [f"### {markdown(ledger.paper.title)}", "", f"{tally(mine)}.", ""]
        claims = {claim.id: claim for claim in ledger.all_claims()}
        ordered = sorted(mine, key=lambda v: OUTCOMES.index(v.outcome))
        failing = [v for v in ordered if v.outcome in ("contradicted", "error") and not excuse(v, exceptions)]
        rest = [v for v in ordered if v not in failing]
        if failing:
            lines += [*_table(claims, ledger, failing, exceptions), ""]
        lines += ["<details><summary>The other claims</summary>", ""]
        lines += [*_table(claims, ledger, rest, exceptions), "", "</details>", ""]
    return "\n".join(lines)


def _table(
    claims: Mapping[str, Claim], ledger: Ledger, verdicts: Sequence[Verdict], exceptions: Mapping[str, str]
) -> list[str]:
    lines = ["| claim | verdict | claimed | ours | n | why |", "|---|---|---|---|---|---|"]
    for v in verdicts[:MOST]:
        claim = claims[v.claim]
        known = excuse(v, exceptions)
        why = f"known exception: {known}" if known else " ".join(v.reasons[:1])
        cells = [v.claim, marked(v.outcome), printed(claim), found(claim, v, ledger), v.n or "", why]
        lines.append(f"| {' | '.join(map(markdown, cells))} |")
    if len(verdicts) > MOST:
        lines.append(f"| … and {len(verdicts) - MOST} more | | | | | |")
    return lines
