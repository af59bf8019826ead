"""What runs say about a curve over sizes: how steeply it grows, where it is best. Rates of error as in `statistics`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike as Values
from numpy.typing import NDArray

from repro.statistics import (
    Decision,
    Outcome,
    Published,
    finite,
    judge_difference,
    judge_value,
    mean_interval,
    outcome_of,
    without_dust,
)


def log_slopes(sizes: Values, values_per_seed: Values) -> NDArray[np.float64]:
    """Least-squares slopes of log value on log size, one for each row of S × len(sizes) positive values."""
    u = np.log(np.asarray(sizes, dtype=np.float64))
    u -= u.mean()
    return np.log(np.asarray(values_per_seed, dtype=np.float64)) @ u / (u @ u)


def judge_slope(
    sizes: Values, values_per_seed: Values, expected: float, margin: float, overlap: float = 0.0
) -> Decision:
    """Does a quantity grow as size^expected? Least-squares slope of log value on log size, for each seed.

    values_per_seed: S × len(sizes), positive. The S slopes go to `judge_value` with `expected` as an exact
    value; the estimate is their mean.
    """
    k, values = finite(sizes, "sizes"), finite(values_per_seed, "values", ndim=2)
    if values.shape[1] != k.size or np.unique(k).size < 2:
        raise ValueError(f"Needs distinct sizes and one value for each: {values.shape} for {k.size} sizes.")
    if bad := int(np.count_nonzero(values <= 0) + np.count_nonzero(k <= 0)):
        raise ValueError(f"{bad} of {values.size + k.size} values and sizes are not positive.")
    slopes = without_dust(log_slopes(k, values), 1.0)
    d = judge_value(slopes, Published(expected), margin, None, overlap)
    e = mean_interval(slopes, overlap=overlap)
    bend = mean_interval(_bends(k, values), overlap=overlap) if np.unique(k).size > 2 and e.n > 1 else None
    said = (
        [
            f"From end to end the slope changes by {bend.value:+.2g} [{bend.low:.2g}, {bend.high:.2g}]; "
            "its mean is tested."
        ]
        if bend
        else []
    )
    return replace(
        d,
        estimate=e,
        reasons=(
            f"The mean slope is {e.value:.4g} [{e.low:.4g}, {e.high:.4g}], asked for {expected:g} ± {margin:g}.",
            *said,
            *d.reasons,
        ),
    )


def _bends(sizes: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each seed, how much the slope of a parabola in log-log changes from the first size to the last."""
    u = np.log(sizes)
    return without_dust(2 * np.polyfit(u, np.log(values).T, 2)[0] * (u.max() - u.min()), 1.0)


def judge_peak(
    x: Values, values: Values, at: Sequence[float], higher_is_better: bool = True, overlap: float = 0.0
) -> Decision:
    """Is the best mean of a curve at one of the points `at`? values: S × len(x), paired by seed.

    `reproduced` if one of `at` beats every other point (Berger 1982), Bonferroni over `at`; `contradicted` if
    another point beats all of `at`, Holm over the others; pairs as in `judge_difference`. The estimate is the
    lead of the best of `at` over its best rival. ValueError if `at` names unknown points, none or all.
    """
    k, v = finite(x, "points"), finite(values, "values", ndim=2) * (1 if higher_is_better else -1)
    named = np.isclose(k[:, None], np.asarray(list(at), dtype=np.float64)[None, :])
    mine, rest = np.flatnonzero(named.any(axis=1)), np.flatnonzero(~named.any(axis=1))
    if v.shape[1] != k.size or not (mine.size and rest.size and named.any(axis=0).all()):
        raise ValueError(f"`at` must name some, not all, of {k.size} points: at {at}, values {v.shape}.")
    i, j = mine[v.mean(axis=0)[mine].argmax()], rest[v.mean(axis=0)[rest].argmax()]
    lead = judge_difference(v[:, i], v[:, j], 0.0, overlap)
    if lead.p_equivalence is None:
        return lead
    tests = [[judge_difference(v[:, a], v[:, b], 0.0, overlap) for b in rest] for a in mine]
    pairs = np.array([[(d.p_equivalence, d.p_outside) for d in row] for row in tests], dtype=np.float64)
    p = np.nan_to_num(pairs, nan=1.0)  # a pair without spread: neither beats the other
    yes = min(1.0, mine.size * float(p[..., 0].max(axis=1).min()))
    no = min(1.0, rest.size * float(p[..., 1].max(axis=0).min()))
    outcome = outcome_of(yes, no, Outcome.contradicted)
    text = (
        f"Best of the claimed points is {k[i]:g}, best of the others {k[j]:g} (p that a claimed one is best {yes:.2g}, "
        f"that another is {no:.2g})."
    )
    seeds = lead.seeds_needed if outcome is Outcome.inconclusive else None
    return Decision(outcome, lead.estimate, None, None, lead.n, (text, *lead.reasons), yes, no, seeds)
