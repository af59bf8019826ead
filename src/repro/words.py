"""Numbers and verdicts in words, the same on the terminal and in the pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from math import isfinite, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.claims import Claim
    from repro.judge import Verdict
    from repro.ledger import Ledger
    from repro.statistics import Estimate

# Order of a board: what needs attention first.
OUTCOMES = ("contradicted", "error", "inconclusive", "better", "reproduced", "blocked", "not_run")

# A mark beside each colour, so that nothing rests on colour alone.
MARKS = {
    "reproduced": "✓",
    "better": "▲",
    "contradicted": "✗",
    "inconclusive": "?",
    "blocked": "⊘",
    "error": "!",
    "not_run": "–",
}


def outcome_name(outcome: str) -> str:
    """Return an outcome as a word: ``not run``."""
    return outcome.replace("_", " ")


def parts(outcomes: Iterable[str]) -> list[tuple[str, int]]:
    """Return how often each outcome occurs, what stands firm first: the parts of a bar."""
    counts = Counter(map(str, outcomes))
    shown = ("reproduced", "better", "inconclusive", "contradicted", "error", "blocked", "not_run")
    return [(outcome, counts[outcome]) for outcome in shown if counts[outcome]]


def marked(outcome: str) -> str:
    """Return an outcome with its mark: ``✓ reproduced``."""
    return f"{MARKS[outcome]} {outcome_name(outcome)}"


def number(value: float | None, unit: str = "") -> str:
    """Return a number as a reader wants it: four significant digits, thousands grouped."""
    if value is None:
        return ""
    value += 0.0  # of minus zero, zero
    if not isfinite(value):
        text = str(value)
    elif value == int(value) and abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif value != 0 and (abs(value) < 0.01 or abs(value) >= 1e6):
        text = f"{value:.3g}"
    else:
        text = f"{value:.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    return f"{text} {unit}".strip() if unit not in ("", "1") else text


def _decimals(low: float, high: float) -> int:
    """As many decimals as the width of an interval calls for."""
    width = abs(high - low)
    return 2 if width >= 0.1 or width == 0 else min(6, 2 + len(f"{1 / width:.0f}"))


def interval(low_high: Iterable[float] | None) -> str:
    """Return ``[low, high]``."""
    if low_high is None:
        return ""
    low, high = low_high
    if not (isfinite(low) and isfinite(high)):  # of one run
        return ""
    decimals = _decimals(low, high)
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def change(estimate: Estimate, unit: str) -> str:
    """Return a difference with its sign and interval, all with the same decimals."""
    decimals = _decimals(estimate.low, estimate.high)
    unit = unit_of_difference(unit)
    size = f"{estimate.value:+.{decimals}f} {interval((estimate.low, estimate.high))}"
    return size if unit == "1" else f"{size} {unit}"


def printed(claim: Claim) -> str:
    """Return what a claim asks for, with the digits that are printed: a value with its ±, a bound, a slope, a place."""
    if claim.kind in ("value", "audit"):
        published = claim.published
        decimals = max(0, round(-log10(2 * published.rounding))) if published.rounding else None
        text = number(published.value) if decimals is None else f"{published.value:.{decimals}f}"
        if published.dispersion is not None:
            text += f" ± {number(published.dispersion)} ({published.dispersion_kind})"
        return text + " (recalled, not verified)" * (claim.anchor.evidence == "recalled")
    if claim.kind == "threshold":
        return f"{claim.direction} {number(claim.bound)}"
    if claim.kind == "scaling":
        return f"slope {number(claim.slope)}"
    if claim.kind == "generalisation":
        limit = number(claim.limit) + ("" if claim.relative_to == "nothing" else " ×")
        sizes = ", ".join(number(s) for s in claim.sizes)
        if claim.expect == "holds":
            return f"at most {limit} at {sizes or 'every other size'}"
        return f"above {limit} " + (f"by {number(max(claim.sizes))}" if claim.sizes else "from some size on")
    if claim.kind == "curve":
        return "best at " + " or ".join(number(x) for x in claim.peak)
    if claim.kind == "property":
        return f"{claim.measure.quantity.replace('_', ' ')} at most {number(claim.at_most)}"
    if claim.kind == "ordering" and claim.at_least < 0:
        return f"at most {number(-claim.at_least)} less"
    return f"by {number(claim.at_least)} or more" if claim.kind == "ordering" and claim.at_least else ""


def found(claim: Claim, verdict: Verdict, ledger: Ledger) -> str:
    """Return what our runs give, with its interval; of a property the worst trial, of a peak its lead."""
    if verdict.measured is None:
        return ""
    how = {"property": "at worst ", "curve": "ahead by "}.get(claim.kind, "")
    value = f"{how}{number(verdict.measured, unit_of(claim, ledger))} {interval(verdict.interval)}".strip()
    return f"{value} {verdict.where}".strip()


def lesser_tier(verdict: Verdict) -> str:
    """Return the tier of a verdict's runs, ``long tier``, where it is not the full one."""
    return f"{verdict.tier} tier" if verdict.tier not in (None, "full") else ""


def duration(seconds: float | None) -> str:
    """Return a time as a reader wants it: seconds, minutes or hours."""
    if seconds is None:
        return "unknown"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def unit_of_difference(unit: str) -> str:
    """Return the unit of a difference: of percentages, points."""
    return "points" if unit == "%" else unit


def unit_of(claim: Claim, ledger: Ledger) -> str:
    """Return the unit of what is measured for a claim: a slope has none, an ordering that of a difference."""
    unit = ledger.quantities[claim.measure.quantity].unit
    if claim.kind == "scaling":
        return ""
    if claim.kind == "generalisation":
        return unit if claim.relative_to == "nothing" else "×"
    return unit_of_difference(unit) if claim.kind in ("ordering", "curve") else unit


def tally(verdicts: Iterable[Verdict]) -> str:
    """Return a count of the outcomes: ``41 reproduced, 3 contradicted``."""
    counts = Counter(str(verdict.outcome) for verdict in verdicts)
    return ", ".join(f"{counts[o]} {outcome_name(o)}" for o in OUTCOMES if counts[o]) or "no claims"


def markdown(text: object) -> str:
    """Return text that Markdown shows as it is, at the start of a line as within, and that begins no comment."""
    plain = re.sub(r"[\\`*_\[\]<>|&~$]", r"\\\g<0>", " ".join(str(text).split()))
    # At the start of a line these would make a heading or an item of a list.
    plain = re.sub(r"^(\d+)([.)])(?=\s|$)|^()([-+=#:])(?=[-+=#:]*(?:\s|$))", r"\1\\\2\4", plain)
    return plain.replace("<!", "<\\!")
