"""Numbers and verdicts in words, the same on the terminal and in the pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.judge import Verdict

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


def number(value: float | None, unit: str = "") -> str:
    """Return a number as a reader wants it: four significant digits, thousands grouped."""
    if value is None:
        return ""
    if not isfinite(value):
        text = str(value)
    elif value == int(value) and abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif value != 0 and (abs(value) < 0.01 or abs(value) >= 1e6):
        text = f"{value:.3g}"
    else:
        text = f"{value:.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    return f"{text} {unit}".strip() if unit not in ("", "1") else text


def interval(low_high: Iterable[float] | None) -> str:
    """Return ``[low, high]`` with as many decimals as the width calls for."""
    if low_high is None:
        return ""
    low, high = low_high
    width = abs(high - low)
    decimals = 2 if width >= 0.1 or width == 0 else min(6, 2 + len(f"{1 / width:.0f}"))
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def tally(verdicts: Iterable[Verdict]) -> str:
    """Return a count of the outcomes: ``41 reproduced, 3 contradicted``."""
    counts = Counter(str(verdict.outcome) for verdict in verdicts)
    return ", ".join(f"{counts[o]} {o.replace('_', ' ')}" for o in OUTCOMES if counts[o]) or "no claims"
