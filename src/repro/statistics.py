"""What runs say about a published claim: value, difference, ordering, threshold, property. Curves are in `curves`.

`reproduced`: the data exclude every difference beyond a margin stated beforehand; `contradicted`: they
exclude every smaller one; else `inconclusive`. Each wrong verdict is held at ALPHA for independent, roughly
normal runs. Skew breaks that towards the short tail: with skewness 1 a truth exactly on the margin is
misjudged in 9 % of cases (n = 2 to 10), 8 % (20) or 6 % (100), with skewness 2 in up to 17 %. Rare collapses
break it altogether, because few runs see none of them: see ``COLLAPSE`` in the calibration test. Results have
the unit of the values. Empty, unequally long or non-finite input raises ValueError: how many of how many.

Two choices are not textbook. An interval outside a margin that is narrow beside its standard error may lie on
either side and errs in up to 2 ALPHA of cases: p of "outside" counts both tails (Hodges and Lehmann 1954).
Welch's degrees of freedom err in up to 8 % of cases when one side has few runs: below MANY the smaller n − 1
is used (Mickey and Brown 1966).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from math import inf, isfinite, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike as Values
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr, stdtrit

ALPHA = 0.05  # accepted rate of each wrong verdict
LEVEL = 1 - 2 * ALPHA  # of the intervals that go with it
POWER = 0.8  # chance of a verdict that `seeds_needed` aims at
MANY = 10  # runs on both sides from which Welch's degrees of freedom are used
MAX_SEEDS = 10_000  # more runs than this is no answer
RUNS = np.unique(np.geomspace(2, MAX_SEEDS, 120).astype(int))  # numbers of runs to choose `seeds_needed` from


class Outcome(StrEnum):
    """The verdicts; the last three are given by callers, never by a test here."""

    reproduced = auto()
    better = auto()
    contradicted = auto()
    inconclusive = auto()
    blocked = auto()
    error = auto()
    not_run = auto()


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval: value ± t(df, (1 + level) / 2) · se. One run: infinite ends and se."""

    value: float
    low: float
    high: float
    n: int
    df: float
    se: float
    level: float = LEVEL


@dataclass(frozen=True)
class Published:
    """A number as printed. rounding: half a unit of its last digit; n: training runs behind it.

    Raises ValueError for what cannot be printed about independent runs.
    """

    value: float
    dispersion: float | None = None
    dispersion_kind: Literal["sd", "se", "unstated"] | None = None
    n: int | None = None
    rounding: float = 0.0

    def __post_init__(self) -> None:
        if not (isfinite(self.value) and 0 <= (self.dispersion or 0.0) < inf and 0 <= self.rounding < inf):
            raise ValueError(f"A number is not finite, or a dispersion or rounding negative: {self}.")
        if self.dispersion_kind not in (None, *(() if self.dispersion is None else ("sd", "se", "unstated"))):
            raise ValueError(f"dispersion_kind is sd, se or unstated, and needs a dispersion: {self}.")
        if self.n is not None and self.n < (1 if self.dispersion is None else 2):
            raise ValueError(f"n is at least 1, and 2 where a spread over runs is printed: {self}.")


@dataclass(frozen=True)
class Decision:
    """An outcome with its evidence.

    estimate: ours − published (value), a − b (difference; the weakest of an ordering), our mean (threshold),
    the slope, or the lead of the claimed peak. p_equivalence: p-value of the test that says `reproduced` at
    ALPHA or less; p_outside: of the one that says `outside_means`. Both None where nothing could be tested.
    where: which of several the estimate is of, in words. idle: whether what is compared with is shown to have learned
    nothing.
    """

    outcome: Outcome
    estimate: Estimate | None = None
    published: float | None = None
    margin: float | None = None
    n: int = 0
    reasons: tuple[str, ...] = ()
    p_equivalence: float | None = None
    p_outside: float | None = None
    seeds_needed: int | None = None
    outside_means: Outcome = Outcome.contradicted
    where: str = ""
    idle: bool = False


def finite(x: Values, what: str = "values", ndim: int = 1) -> NDArray[np.float64]:
    """Return the array; ValueError if it is empty, of other dimensions or holds what is not finite."""
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != ndim or values.size == 0:
        raise ValueError(f"The {what} must be a non-empty {ndim}-dimensional array, not {values.shape}.")
    if bad := int(np.count_nonzero(~np.isfinite(values))):
        raise ValueError(f"{bad} of {values.size} {what} are not finite.")
    return values


def without_dust(x: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return the values, made exactly equal where only the dust of floating point tells them apart."""
    return np.full_like(x, x[0]) if np.ptp(x) <= 1e-12 * scale else x


def _pairs(a: Values, b: Values) -> NDArray[np.float64]:
    left, right = finite(a, "values of a"), finite(b, "values of b")
    if left.shape != right.shape:
        raise ValueError(f"a and b are paired by seed but have {left.size} and {right.size} values.")
    return without_dust(left - right, np.abs([left, right]).max())


def mean_interval(x: Values, level: float = LEVEL, overlap: float = 0.0) -> Estimate:
    """Mean of runs with its t interval: m ± t(n − 1, (1 + level) / 2) · s · √(1 / n + overlap) (Student 1908).

    overlap: 0 for independent runs; for folds of a cross-validation, whose training sets overlap, the ratio of
    test to training size, 1 / (k − 1) for k folds (Nadeau and Bengio 2003).
    """
    values = without_dust(finite(x), np.abs(x).max())
    n, mean = values.size, float(values.mean())
    if n == 1:
        return Estimate(mean, -inf, inf, 1, 0, inf, level)
    se = float(values.std(ddof=1)) * sqrt(1 / n + overlap) if np.ptp(values) else 0.0
    if not isfinite(mean + se):
        raise ValueError(f"The {n} values are too large to compute their mean and spread.")
    half = float(stdtrit(n - 1, (1 + level) / 2)) * se
    return Estimate(mean, mean - half, mean + half, n, n - 1, se, level)


def paired_effect(a: Values, b: Values, overlap: float = 0.0) -> Estimate:
    """Effect of a switch, no verdict: `mean_interval` of a − b, paired by seed (0 ± 0: nothing changes)."""
    return mean_interval(_pairs(a, b), 1 - ALPHA, overlap)


def _no_spread(e: Estimate) -> str | None:
    if e.n == 1:
        return "One run has no spread: nothing can be concluded from n = 1."
    text = f"There is no spread in {e.n} runs: are the seeds independent? Fixed numbers belong to an audit."
    return None if e.se > 0 else text


def _seeds(
    e: Estimate, gap: float, far: float = inf, fixed: float = 0.0, m: float = inf
) -> tuple[int | None, str]:
    """About how many runs clear `gap` and `far` (distances to the edges) with POWER, or None; and in words.

    power = Φ(gap / se − t) + Φ(far / se − t) − 1; se² = s² / runs + fixed, that of the mean of m runs.
    """
    runs = RUNS[e.n < RUNS]
    se, t = np.sqrt(e.se**2 * e.n / runs + fixed), stdtrit(np.minimum(runs, m) - 1, 1 - ALPHA)
    enough = ndtr(gap / se - t) + ndtr(far / se - t) - 1 >= POWER
    if gap > 0 and enough.any():
        seeds = int(runs[enough.argmax()])
        return seeds, f"If mean and spread stay, about {seeds} runs settle it with probability {POWER:g}."
    hopeless = fixed and _seeds(e, gap, far)[0]
    why = (
        "what more runs of ours cannot reduce (the error of the printed number, or folds that share data) is too large"
        if hopeless
        else "it sits on the edge"
    )
    return None, f"Even {MAX_SEEDS} runs would hardly settle it: {why}."


def outcome_of(p_equivalence: float, p_outside: float, outside_means: Outcome) -> Outcome:
    """Return what two p-values say at ALPHA."""
    rest = outside_means if p_outside <= ALPHA else Outcome.inconclusive
    return Outcome.reproduced if p_equivalence <= ALPHA else rest


def _readings(published: Published, n: int, var: float) -> Iterator[tuple[str, float, float]]:
    """Each way to read what is printed: in words, variance of the published mean, df; var: that of ours."""
    m = published.n
    if published.dispersion is None:
        yield "the published value is exact", 0.0, n - 1
        if m is not None:
            yield f"its {m} run(s) spread like ours", var * n / m, n - 1
        return
    spread = published.dispersion + published.rounding  # printed to the same digit: read at its upper end
    if m is None:
        yield "the printed spread is a standard error (its n is not printed)", spread**2, n - 1
        return
    for kind, name, other in (("sd", "deviation", spread**2 / m), ("se", "error", spread**2)):
        welch = (var + other) ** 2 / (var**2 / (n - 1) + other**2 / (m - 1))
        if published.dispersion_kind in (kind, "unstated", None):
            df = welch if min(n, m) >= MANY else min(n, m) - 1
            yield f"the printed spread is the standard {name} of {m} runs", other, df


def judge_value(
    ours: Values,
    published: Published,
    margin: float,
    higher_is_better: bool | None,
    overlap: float = 0.0,
) -> Decision:
    """Is our mean equivalent to the published one? TOST on δ = ours − published (Schuirmann 1987).

    With se² = s² / n + variance of the published mean, r the rounding and t with Welch's df (1947),
    p_equivalence = P(t > (margin − r − |δ|) / se) and p_outside = P(t > (|δ| − r − margin) / se) +
    P(t > (|δ| − r + margin) / se), each the largest over all readings of the printed spread. `reproduced` if
    p_equivalence ≤ ALPHA: the widest interval lies inside the margin. If p_outside ≤ ALPHA, `better` on the
    better side, else `contradicted`.
    """
    if not 0 < margin < inf:
        raise ValueError(f"The margin must be positive and finite, not {margin}.")
    own, value, r = mean_interval(ours, overlap=overlap), published.value, published.rounding
    n, delta, size = own.n, own.value - value, abs(own.value - value)
    nearest = max(0.0, size - r)
    if text := _no_spread(own):
        e = Estimate(delta, own.low - value - r, own.high - value + r, n, own.df, own.se)
        return Decision(Outcome.inconclusive, e, value, margin, n, (text,))
    good_side = higher_is_better is not None and higher_is_better == (delta > 0)
    beyond = Outcome.better if good_side else Outcome.contradicted
    tests = []
    for reading, other, df in _readings(published, n, own.se**2):
        se = sqrt(own.se**2 + other)
        half = float(stdtrit(df, 1 - ALPHA)) * se + r
        edges = np.array([size + r - margin, margin - nearest, -margin - nearest])
        inside, near, far = (float(p) for p in stdtr(df, edges / se))
        e = Estimate(delta, delta - half, delta + half, n, df, se)
        tests.append((reading, e, inside, min(1.0, near + far)))
    e = max((t[1] for t in tests), key=lambda e: e.high)
    p_inside, p_outside = max(t[2] for t in tests), max(t[3] for t in tests)
    outcome, seeds = outcome_of(p_inside, p_outside, beyond), None
    place = {Outcome.reproduced: "inside", Outcome.inconclusive: "neither inside nor outside"}
    reasons = [
        f"Ours − published is {delta:+.4g}, {LEVEL:.0%} interval [{e.low:.4g}, {e.high:.4g}]: "
        f"{place.get(outcome, 'outside')} ±{margin:g} (p inside {p_inside:.2g}, p outside {p_outside:.2g})."
    ]
    verdicts = [outcome_of(p, q, beyond) for _, _, p, q in tests]
    each = "; ".join(f"{v} if {reading}" for v, (reading, *_) in zip(verdicts, tests, strict=True))
    reasons.append(f"{'Verdict' if len(set(verdicts)) == 1 else 'The readings disagree'}: {each}.")
    if r >= margin:
        reasons.append(f"Printed to ±{r:g} only, it can never be shown to lie within the margin.")
    if outcome is Outcome.inconclusive:
        gaps = (margin - r - size, margin - r + size) if size < margin else (size - margin - r, inf)
        m = inf if published.dispersion is None else published.n or inf
        seeds, text = _seeds(own, *gaps, fixed=max(0.0, e.se**2 - own.se**2), m=m)
        reasons.append(text)
    return Decision(outcome, e, value, margin, n, tuple(reasons), p_inside, p_outside, seeds, beyond)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values, same order: max over j ≤ i of min(1, (k − j + 1) · p_(j)) (Holm 1979)."""
    # The same numbers as statsmodels' multipletests, which takes 2 s to import and 0.1 s a call.
    p = np.asarray(p_values, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"These p-values are not all between 0 and 1: {list(p_values)}.")
    order, adjusted = np.argsort(p), np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1)
    return [float(q) for q in adjusted]


def apply_family(decisions: Sequence[Decision], level: float = ALPHA) -> list[Decision]:
    """The same claims judged as one family: outcomes by Holm-adjusted p-values, in the same order.

    Holds at ``level`` the chance of any false `reproduced`, and separately of any false `contradicted` or
    `better`. Can only turn an outcome inconclusive; p-values and intervals stay those of the single claim.
    Decisions without a p-value (nothing tested, deterministic checks) do not count and stay as they are.

    Args:
        decisions: of the family; a claim without one is a family of its own.
        level: less than ALPHA for one of several looks at runs that grow.
    """
    result = list(decisions)
    for field in ("p_equivalence", "p_outside"):
        tested = [i for i, d in enumerate(decisions) if getattr(d, field) is not None]
        for i, p in zip(tested, holm([getattr(decisions[i], field) for i in tested]), strict=True):
            d = decisions[i]
            ruled = Outcome.reproduced if field == "p_equivalence" else d.outside_means
            if p > level and d.outcome is ruled:
                many = f"as one of {len(tested)} claims its p is {p:.2g} (Holm)"
                looks = f"its p of {p:.2g} is not below {level:.2g}, the level of each look at runs that grow"
                note = (
                    f"Alone it is {ruled}; {many}." if p > ALPHA else f"By then it is {ruled}, but {looks}."
                )
                result[i] = replace(d, outcome=Outcome.inconclusive, reasons=(note, *d.reasons))
    return result


def judge_threshold(
    x: Values, bound: float, direction: Literal["above", "below"], overlap: float = 0.0
) -> Decision:
    """Is the mean above (below) the bound? `reproduced` if the whole interval is, `contradicted` if none is.

    Two one-sided t tests, each at ALPHA: t = (m − bound) / se, df = n − 1; overlap as in `mean_interval`.
    """
    if direction not in ("above", "below") or not isfinite(bound):
        raise ValueError(f"Needs `above` or `below` and a finite bound, not {direction!r} {bound}.")
    e, seeds = mean_interval(x, overlap=overlap), None
    if text := _no_spread(e):
        return Decision(Outcome.inconclusive, e, bound, None, e.n, (text,))
    t = (e.value - bound) / e.se * (1 if direction == "above" else -1)
    yes, no = float(stdtr(e.df, -t)), float(stdtr(e.df, t))
    outcome = outcome_of(yes, no, Outcome.contradicted)
    place = "above" if e.value > bound else "below"
    if outcome is Outcome.inconclusive:
        shared = e.se**2 * overlap / (1 / e.n + overlap)  # what more runs cannot take away
        own = replace(e, se=sqrt(e.se**2 - shared))
        place, (seeds, text) = "across", _seeds(own, abs(e.value - bound), fixed=shared)
    interval = f"{LEVEL:.0%} interval [{e.low:.4g}, {e.high:.4g}]"
    mean = f"The mean is {e.value:.4g}, {interval}: {place} {bound:g}."
    reasons = (mean, text) if text else (mean,)
    return Decision(outcome, e, bound, None, e.n, reasons, yes, no, seeds)


def judge_difference(a: Values, b: Values, at_least: float = 0.0, overlap: float = 0.0) -> Decision:
    """Is a > b + at_least, paired by seed? `judge_threshold` on a − b.

    Differences that are all equal are `inconclusive` at every n: a sign test would accept them from n = 5,
    but only for independent seeds, and equal differences are what dependent seeds look like.
    """
    d = judge_threshold(_pairs(a, b), at_least, "above", overlap)
    return replace(d, published=None, reasons=(*d.reasons, "The differences are paired by seed."))


def judge_ordering(comparisons: Mapping[str, tuple[Values, Values, float]], overlap: float = 0.0) -> Decision:
    """Do all {name: (a, b, at_least)} hold? Intersection-union of `judge_difference` (Berger 1982).

    `reproduced` only if each is, at ALPHA without correction; `contradicted` if any is, with Holm over them.
    """
    parts = {name: judge_difference(*c, overlap) for name, c in comparisons.items()}
    if not parts:
        raise ValueError("An ordering needs at least one comparison.")
    no = {name: d.p_outside for name, d in parts.items() if d.p_outside is not None}
    wrong = [name for name, p in zip(no, holm(list(no.values())), strict=True) if p <= ALPHA]
    yes = {name: 1.0 if d.p_equivalence is None else d.p_equivalence for name, d in parts.items()}

    def strength(name: str) -> tuple[float, float]:
        estimate = parts[name].estimate
        return -yes[name], estimate.value if estimate else 0.0  # many a p is 1 exactly

    weakest_first = sorted(yes, key=strength)
    open_ = [name for name in weakest_first if yes[name] > ALPHA and name not in wrong]
    weakest = weakest_first[0]
    words = {name: ". ".join(filter(None, (name, " ".join(d.reasons)))) for name, d in parts.items()}
    for name in open_:
        if parts[name].outcome is Outcome.contradicted:
            words[name] += f" Alone that contradicts it; as one of {len(no)} comparisons it does not (Holm)."
    reasons = [f"Contradicted: {words[k]}" for k in weakest_first if k in wrong]
    reasons += [f"Open: {words[k]}" for k in open_]
    needed = [parts[name].seeds_needed or 0 for name in open_]
    return Decision(
        Outcome.contradicted if wrong else Outcome.inconclusive if open_ else Outcome.reproduced,
        parts[weakest].estimate,
        n=min(d.n for d in parts.values()),
        reasons=tuple(reasons)
        or (
            f"All {len(parts)} comparisons hold. Weakest: {words[weakest]}"
            if len(parts) > 1
            else f"It holds: {words[weakest]}",
        ),
        p_equivalence=yes[weakest] if len(no) == len(parts) else None,
        p_outside=min(1.0, len(no) * min(no.values())) if no else None,
        seeds_needed=max(needed) if needed and all(needed) and not wrong else None,
    )


def judge_all_hold(runs: Sequence[Values], tolerance: float = 0.0) -> Decision:
    """Does a property hold in every run? runs: by how much each of a run's checks violates it, 0 for not at all.

    A deterministic check, no p-values: one violation above the tolerance, or not finite, is `contradicted`; none in
    at least two checks `reproduced`. What is counted are runs, since the checks of one are not independent.
    ValueError for booleans, which could mean either, or a bad tolerance.
    """
    checks = [np.asarray(run) for run in runs]
    if any(x.dtype == np.bool_ for x in checks) or not 0 <= tolerance < inf:
        raise ValueError("Needs the size of each violation, not a boolean, and a tolerance of at least 0.")
    broken = [not np.all(np.abs(x.astype(np.float64)) <= tolerance) for x in checks]
    n, fails, enough = len(checks), sum(broken), sum(x.size for x in checks) >= 2
    outcome = Outcome.contradicted if fails else Outcome.reproduced if enough else Outcome.inconclusive
    text = (
        f"{fails} of {n} runs break the property: they exceed {tolerance:g}."
        if fails
        else f"None of {n} runs exceeds {tolerance:g}."
    )
    if n > 1 and not fails:
        # The largest share of breaking runs with which n runs show none in one case of twenty.
        text += f" Where runs differ by chance, up to {1 - ALPHA ** (1 / n):.0%} of them may (95 %)."
    return Decision(outcome, margin=tolerance, n=n, reasons=(text,))
