"""How far a model generalises in system size: error against size, breaking points, a knee or a slope.

A raw error mixes three things: the task gets harder with size, transfer costs something beyond that, and
inputs leave the training range. So errors are compared as a ratio:

- to a model trained *at* each size, τ(N) = transfer error / same-size error, which takes the task's own
  hardness away (Battaglia et al. 2016 print both errors, for three sizes);
- or to the same model's error at the nearest training size;
- or to nothing, where the error itself has a natural limit: the share of diverged rollouts, an error relative
  to "nothing moves".

The breaking point is the smallest size beyond the training range at which the ratio exceeds a limit that was
stated beforehand, there and at every larger size tested. It is found by testing from the largest size down and
stopping at the first size that does not exceed it: a fixed sequence, which needs no correction (Maurer, Hothorn
and Lehmacher 1995). Ratios are averaged over seeds as logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from repro.statistics import ALPHA, Decision, Estimate, Outcome, holm, judge_threshold

Errors = Mapping[int, Mapping[float, float]]
"""Seed to size to a positive error."""
Ratios = dict[float, list[float]]
"""Size to one logarithm of a ratio per seed; sizes in rising order."""
RelativeTo = Literal["same_size", "training_sizes", "nothing"]

OWN = "the network itself"  # what is measured with nothing held fixed
KNEE = 6.0  # difference of BIC from which a knee is more than a line
KNEE_SEEDS = 0.8  # share of seeds on which it must be
KNEE_SIZES = 6  # fewer sizes cannot tell a knee (4 parameters) from a line (2)


def _logarithm(error: float) -> float:
    if not 0 < error < inf:
        raise ValueError(
            f"An error of {error:g} has no ratio: cap what diverges, count it in a quantity of its own."
        )
    return log(error)


def _nearest(trained: Sequence[float], size: float) -> list[float]:
    gap = min(abs(t - size) for t in trained)
    return [t for t in trained if abs(t - size) == gap]


def ratios(errors: Errors, trained: Sequence[float], relative_to: RelativeTo, same_size: Errors) -> Ratios:
    """Return the log ratios at every size outside the training sizes.

    Args:
        errors: of the model under test, trained at ``trained``.
        trained: the training sizes.
        relative_to: ``same_size`` pairs by seed with ``same_size`` and leaves out sizes it lacks;
            ``training_sizes`` with the geometric mean of the own errors at the nearest training size (two of
            them, if equally near); ``nothing`` takes the errors themselves.
        same_size: errors of models trained at each size; empty unless needed.

    Raises:
        ValueError: if an error is not positive and finite, a seed lacks a size that another of its set has, or there is
            nothing to compare with.
    """
    found: Ratios = {}
    every = _sizes_of_all(errors, "")
    _sizes_of_all(same_size, " of the models trained at each size")
    for size in sorted(every - set(trained)):
        logs = []
        for seed, curve in sorted(errors.items()):
            if relative_to == "same_size":
                reference = [same_size[seed][size]] if size in same_size.get(seed, {}) else []
            elif relative_to == "training_sizes":
                reference = [curve[t] for t in _nearest(trained, size) if t in curve]
            else:
                reference = [1.0]
            if reference:
                logs.append(_logarithm(curve[size]) - float(np.mean([_logarithm(r) for r in reference])))
        if logs:
            found[size] = logs
    if not found:
        raise ValueError(f"No size outside the training sizes {list(trained)} has errors to compare.")
    return found


def _sizes_of_all(errors: Errors, whose: str) -> set[float]:
    """Return the sizes; each seed must have them all, or those that a seed lacks would be left out in silence."""
    every = {size for curve in errors.values() for size in curve}
    for seed, curve in sorted(errors.items()):
        if missing := sorted(every - set(curve)):
            raise ValueError(
                f"Seed {seed}{whose} has no error at size {missing[0]:g}, which other seeds have."
            )
    return every


def _test(logs: Sequence[float], limit: float, direction: Literal["above", "below"]) -> Decision:
    return judge_threshold(logs, log(limit), direction)


def breaking_point(found: Ratios, trained: Sequence[float], limit: float) -> float | None:
    """Return the smallest size beyond the training range that exceeds ``limit``, as do all larger ones.

    None if the largest tested size does not: the breaking point is then beyond it, or nowhere.
    """
    point = None
    for size in sorted((s for s in found if s > max(trained)), reverse=True):
        if _test(found[size], limit, "above").outcome is not Outcome.reproduced:
            break
        point = size
    return point


def _on_ratio_scale(decision: Decision) -> Estimate | None:
    e = decision.estimate
    if e is None:
        return None
    with np.errstate(over="ignore"):
        low, high = (float(np.exp(x)) for x in (e.low, e.high))
    return replace(e, value=exp(e.value), low=low, high=high, se=exp(e.value) * e.se)


def _told(size: float, decision: Decision) -> str:
    e = _on_ratio_scale(decision)
    return f"{size:g}: {e.value:.3g} [{e.low:.3g}, {e.high:.3g}]" if e else f"{size:g}: no test"


def _combine(tests: Mapping[float, Decision], limit: float, reasons: Sequence[str]) -> Decision:
    """Reproduced if every size is (Berger 1982), contradicted if any is (Holm)."""
    yes = {s: 1.0 if d.p_equivalence is None else d.p_equivalence for s, d in tests.items()}
    no = {s: d.p_outside for s, d in tests.items() if d.p_outside is not None}
    against = [s for s, p in zip(no, holm(list(no.values())), strict=True) if p <= ALPHA]
    outcome = (
        Outcome.contradicted
        if against
        else Outcome.reproduced
        if max(yes.values()) <= ALPHA
        else Outcome.inconclusive
    )
    weakest = max(yes, key=lambda s: yes[s])
    untested = [d.reasons[0] for d in tests.values() if d.p_equivalence is None]
    return Decision(
        outcome,
        _on_ratio_scale(tests[weakest]),
        limit,
        n=min(d.n for d in tests.values()),
        reasons=(*reasons, *dict.fromkeys(untested)),
        p_equivalence=yes[weakest] if len(no) == len(tests) else None,
        p_outside=min(1.0, len(no) * min(no.values())) if no else None,
        seeds_needed=tests[weakest].seeds_needed if outcome is Outcome.inconclusive else None,
        where=f"at {weakest:g}",
    )


def judge_holds(found: Ratios, sizes: Sequence[float], limit: float) -> Decision:
    """Does the ratio stay at or below ``limit`` at each of ``sizes``? Empty: at every untrained size."""
    chosen = _chosen(found, sizes)
    tests = {size: _test(found[size], limit, "below") for size in chosen}
    listed = "; ".join(_told(size, d) for size, d in tests.items())
    return _combine(tests, limit, [f"Ratio by size, 90 % interval, limit {limit:g}: {listed}."])


def judge_breaks(
    found: Ratios,
    trained: Sequence[float],
    sizes: Sequence[float],
    limit: float,
    survives: Mapping[str, Ratios],
) -> Decision:
    """Is there a breaking point no later than the largest of ``sizes``, and in every arm of ``survives``?

    An arm without that break says that what it holds fixed was the cause: the outcome is then
    `contradicted`, and the reason names the arm. Each arm is one more chance of that: Holm's method corrects for it.
    """
    largest = max(_chosen(found, sizes))
    arms = {"": found, **survives}
    parts: dict[str, Decision] = {}
    for name, arm in arms.items():
        later = [s for s in arm if s >= largest and s > max(trained)]
        if not later:
            raise ValueError(f"The arm `{name or 'itself'}` has no size of {largest:g} or more.")
        tests = {s: _test(arm[s], limit, "above") for s in later}
        point = breaking_point(arm, trained, limit)
        listed = "; ".join(
            _told(s, _test(logs, limit, "above")) for s, logs in arm.items() if s > max(trained)
        )
        where = (
            f"breaking point {point:g} ({point / max(trained):.2g} × the largest training size)"
            if point is not None
            else f"no breaking point up to {max(arm):g}"
        )
        parts[name] = _combine(tests, limit, [f"{name + ': ' if name else ''}{where}; ratios {listed}."])
    out = {name: d.p_outside for name, d in parts.items() if d.p_outside is not None}
    gone = [name for name, p in zip(out, holm(list(out.values())), strict=True) if p <= ALPHA]
    kept = all(d.outcome is Outcome.reproduced for d in parts.values())
    reasons = [reason for d in parts.values() for reason in d.reasons]
    if parts[""].outcome is Outcome.reproduced and len(parts) > 1:
        reasons.insert(
            0,
            f"Covariate shift, not size: no break by {largest:g} with {' nor with '.join(gone)}."
            if gone
            else "Size: the break is there in every arm."
            if kept
            else "Whether it is size or what the other arms hold fixed is open.",
        )
    least, weakest = max(
        parts.items(), key=lambda part: 1.0 if part[1].p_equivalence is None else part[1].p_equivalence
    )
    if len(parts) > 1:
        reasons.append(
            f"The ratio given is that {weakest.where} in the arm that breaks least: {least or OWN}."
        )
    overall = Outcome.contradicted if gone else Outcome.reproduced if kept else Outcome.inconclusive
    return replace(
        weakest,
        outcome=overall,
        reasons=tuple(reasons),
        n=min(d.n for d in parts.values()),
        where=f"{weakest.where}, {least or OWN}" if len(parts) > 1 else weakest.where,
        p_outside=min(1.0, len(out) * min(out.values())) if out else None,
    )


def judge_learned(
    errors: Errors, trained: Sequence[float], same_size: Errors, sizes: Sequence[float], bound: float
) -> Decision:
    """Is every reference error below ``bound``? Reproduced or inconclusive (Berger 1982).

    Where one is shown to lie above it, nothing was learned there: then the decision is ``idle``. The p-value is the
    largest; what is concluded from the ratios cannot be surer than that (:func:`given`).

    Args:
        errors: of the model under test; unless ``same_size`` is given, the reference are its errors at the training
            sizes nearest to ``sizes``, those that :func:`ratios` divides by.
        trained: the training sizes.
        same_size: of models trained at each size.
        sizes: the sizes compared.
        bound: pre-registered.
    """
    reference, at = same_size, set(sizes)
    if not same_size:
        reference, at = errors, {t for size in sizes for t in _nearest(trained, size)}
    tests: dict[float, Decision | None] = {}
    p = 0.0
    for size in sorted(at):
        logs = [_logarithm(curve[size]) for curve in reference.values() if size in curve]
        test = _test(logs, bound, "below") if logs else None
        if test is None or test.outcome is not Outcome.reproduced:
            tests[size] = test
        elif test.p_equivalence is not None:
            p = max(p, test.p_equivalence)
    if not tests:
        return Decision(Outcome.reproduced, n=len(errors), p_equivalence=p)
    listed = "; ".join(_told(size, test) if test else f"{size:g}: no runs" for size, test in tests.items())
    needed = [test.seeds_needed if test else None for test in tests.values()]
    idle = any(test is not None and test.outcome is Outcome.contradicted for test in tests.values())
    why = (
        f"The reference's own error is not shown to lie below {bound:g} at size {listed} (90 % interval): its ratio "
        "may be that of networks that learned nothing."
    )
    return Decision(
        Outcome.inconclusive,
        n=len(errors),
        reasons=(why,),
        seeds_needed=None if idle or None in needed else max(n for n in needed if n is not None),
        idle=idle,
    )


def given(gate: float, decision: Decision) -> Decision:
    """Return a decision on ratios, no surer than that its reference has learned, whose p-value is ``gate``.

    Both must be shown (Berger 1982).
    """
    p, q = decision.p_equivalence, decision.p_outside
    return replace(
        decision,
        p_equivalence=None if p is None else max(p, gate),
        p_outside=None if q is None else max(q, gate),
    )


def _chosen(found: Ratios, sizes: Sequence[float]) -> list[float]:
    missing = [s for s in sizes if s not in found]
    if missing:
        raise ValueError(f"There is no ratio at size {missing}; there is one at {list(found)}.")
    return list(sizes) or list(found)


@dataclass(frozen=True)
class Knee:
    """How many seeds' errors bend at one size rather than follow one power of size, or a smooth curve.

    Attributes:
        at: median size of the knee over the seeds where it beats the line.
        seeds, sharp, of: seeds where the knee beats the line by more than ``KNEE`` in BIC; where it beats a parabola by
            as much besides; of how many.
        trained: the largest training size.
    """

    at: float | None
    seeds: int
    sharp: int
    of: int
    trained: float = 0.0

    @property
    def is_point(self) -> bool:
        """Whether enough seeds bend, and sharply enough, for it to be called a point."""
        return self.of > 0 and self.sharp >= KNEE_SEEDS * self.of

    @property
    def words(self) -> str:
        """Say which, for a reader."""
        if self.of == 0:
            return f"fewer than {KNEE_SIZES} sizes cannot tell a point from a gradual loss"
        bends = self.seeds >= KNEE_SEEDS * self.of
        how = (
            "a point"
            if self.is_point
            else "a bend, no sharper than a smooth curve's"
            if bends
            else "gradual, not a point"
        )
        found = f"a knee beats a line by ΔBIC > {KNEE:g} on {self.seeds} of {self.of} seeds, a parabola on {self.sharp}"
        if not bends or self.at is None:
            return f"{how}: {found}"
        inside = ", within the training sizes" if self.at <= self.trained else ""
        return f"{how}: {found}, near size {self.at:.3g}{inside}"


def knee(errors: Errors, trained: Sequence[float]) -> Knee:
    """Compare log error = line in log size with a line of one knee and with a parabola, seed by seed.

    BIC = n ln(RSS / n) + p ln n with p = 2 for the line, 3 for the parabola and 4 for the knee, whose place is one of
    the inner sizes.
    """
    sizes = sorted(set.intersection(*(set(curve) for curve in errors.values()))) if errors else []
    if len(sizes) < KNEE_SIZES:
        return Knee(None, 0, 0, 0)
    x, n = np.log(sizes), len(sizes)

    def bic(design: NDArray[np.float64], y: NDArray[np.float64], parameters: int) -> float:
        rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        # Below rounding, a fit is exact; without a floor an exact line would lose to an exact knee by chance.
        return n * log(max(float(rest @ rest) / n, 1e-12)) + parameters * log(n)

    places, sharp = [], 0
    line = np.stack([np.ones(n), x], axis=1)
    parabola = np.column_stack([line, x**2])
    for curve in errors.values():
        y = np.array([_logarithm(curve[s]) for s in sizes])
        bends = {
            sizes[i]: bic(np.column_stack([line, np.maximum(x - x[i], 0)]), y, 4) for i in range(1, n - 1)
        }
        best = min(bends, key=lambda s: bends[s])
        if bic(line, y, 2) - bends[best] > KNEE:
            places.append(best)
            sharp += bic(parabola, y, 3) - bends[best] > KNEE
    at = float(np.median(places)) if places else None
    return Knee(at, len(places), sharp, len(errors), max(trained))
