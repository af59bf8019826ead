"""How far a model generalises in system size: error against size, and the size from which it breaks.

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
from dataclasses import replace
from math import exp, inf, log
from typing import Literal

import numpy as np

from repro.statistics import ALPHA, Decision, Estimate, Outcome, holm, judge_threshold

Errors = Mapping[int, Mapping[float, float]]
"""Seed to size to a positive error."""
Ratios = dict[float, list[float]]
"""Size to one logarithm of a ratio per seed; sizes in rising order."""
RelativeTo = Literal["same_size", "training_sizes", "nothing"]

Direction = Literal["above", "below"]

OWN = "the model itself"  # what is measured with nothing held fixed


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
        ValueError: if an error is not positive and finite, a seed lacks a size that another of its set has or the
            training size nearest to one, or there is nothing to compare with.
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
                if untested := sorted(set(_nearest(trained, size)) - set(curve)):
                    raise ValueError(
                        f"Seed {seed} has no error at the training size {untested[0]:g}, nearest to {size:g}."
                    )
                reference = [curve[t] for t in _nearest(trained, size)]
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


def _test(logs: Sequence[float], limit: float, direction: Direction, by_side: bool = False) -> Decision:
    """Test the mean against the limit; with ``by_side``, what is the same in every run counts by its side of it."""
    test = judge_threshold(logs, log(limit), direction)
    e = test.estimate
    if not by_side or e is None or e.n < 2 or e.se > 0:
        return test
    passes = e.value > log(limit) if direction == "above" else e.value < log(limit)
    outcome = Outcome.reproduced if passes else Outcome.contradicted
    return replace(test, outcome=outcome, p_equivalence=1.0 - passes, p_outside=float(passes))


def breaking_point(
    found: Ratios, trained: Sequence[float], limit: float, by_side: bool = False
) -> float | None:
    """Return the smallest size beyond the training range that exceeds ``limit``, as do all larger ones.

    None if the largest tested size does not: the breaking point is then beyond it, or nowhere.
    """
    point = None
    for size in sorted((s for s in found if s > max(trained)), reverse=True):
        if _test(found[size], limit, "above", by_side).outcome is not Outcome.reproduced:
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


def _combine(
    tests: Mapping[float, Decision], limit: float, direction: Direction, reasons: Sequence[str]
) -> Decision:
    """Reproduced if every size is (Berger 1982), contradicted if any is (Holm).

    The estimate is of the size that is least shown to hold; of a contradiction, of one that contradicts.
    """
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

    def lag(size: float) -> tuple[float, float]:
        e = tests[size].estimate
        value = e.value if e else 0.0
        return yes[size], value if direction == "below" else -value  # many a p is 1 exactly

    weakest = max(against or yes, key=lag)
    alone = [f"{s:g}" for s, p in no.items() if p <= ALPHA and not against]
    corrected = (
        [f"Alone the ratio at {' or '.join(alone)} contradicts it; as one of {len(no)} it does not (Holm)."]
        if alone
        else []
    )
    untested = [d.reasons[0] for d in tests.values() if d.p_equivalence is None]
    return Decision(
        outcome,
        _on_ratio_scale(tests[weakest]),
        limit,
        n=min(d.n for d in tests.values()),
        reasons=(*reasons, *corrected, *dict.fromkeys(untested)),
        p_equivalence=yes[weakest] if len(no) == len(tests) else None,
        p_outside=min(1.0, len(no) * min(no.values())) if no else None,
        seeds_needed=tests[weakest].seeds_needed if outcome is Outcome.inconclusive else None,
        where=f"at {weakest:g}",
    )


def judge_holds(found: Ratios, sizes: Sequence[float], limit: float, by_side: bool = False) -> Decision:
    """Does the ratio stay at or below ``limit`` at each of ``sizes``? Empty: at every untrained size.

    ``by_side``: of a control, whose ratio may be the same in every run.
    """
    chosen = _chosen(found, sizes)
    tests = {size: _test(found[size], limit, "below", by_side) for size in chosen}
    listed = "; ".join(_told(size, d) for size, d in tests.items())
    return _combine(tests, limit, "below", [f"Ratio by size, 90 % interval, limit {limit:g}: {listed}."])


def judge_breaks(
    found: Ratios,
    trained: Sequence[float],
    sizes: Sequence[float],
    limit: float,
    survives: Mapping[str, Ratios],
    by_side: bool = False,
) -> Decision:
    """Is there a breaking point no later than the largest of ``sizes``, and in every arm of ``survives``?

    An arm without that break says that size alone does not make it: the outcome is then `contradicted`, and the reason
    names the arm. Each arm is one more chance of that: Holm's method corrects for it. ``by_side`` as in
    :func:`judge_holds`.
    """
    largest = max(_chosen(found, sizes))
    arms = {"": found, **survives}
    parts: dict[str, Decision] = {}
    for name, arm in arms.items():
        later = [s for s in arm if s >= largest and s > max(trained)]
        if not later:
            raise ValueError(f"The arm `{name or 'itself'}` has no size of {largest:g} or more.")
        tests = {s: _test(arm[s], limit, "above", by_side) for s in later}
        point = breaking_point(arm, trained, limit, by_side)
        listed = "; ".join(
            _told(s, _test(logs, limit, "above")) for s, logs in arm.items() if s > max(trained)
        )
        where = (
            f"breaking point {point:g} ({point / max(trained):.2g} × the largest training size)"
            if point is not None
            else f"no breaking point up to {max(arm):g}"
        )
        told = [f"{name + ': ' if name else ''}{where}; ratios {listed}."]
        parts[name] = _combine(tests, limit, "above", told)
    out = {name: d.p_outside for name, d in parts.items() if d.p_outside is not None}
    gone = [name for name, p in zip(out, holm(list(out.values())), strict=True) if p <= ALPHA]
    kept = all(d.outcome is Outcome.reproduced for d in parts.values())
    reasons = [reason for d in parts.values() for reason in d.reasons]
    if parts[""].outcome is Outcome.reproduced and len(parts) > 1:
        reasons.insert(
            0,
            f"Not size alone, but what {' and '.join(gone)} takes away, such as a covariate shift: no break by "
            f"{largest:g} there."
            if gone
            else f"Size is left as a cause: the break is there with {' and with '.join(survives)} too."
            if kept
            else "Whether it is size or what the other arms hold fixed is open.",
        )
        alone = [name for name, p in out.items() if p <= ALPHA and not gone]
        if alone:
            reasons.insert(
                1, f"Alone {' or '.join(alone)} contradicts it; as one of {len(out)} arms it does not (Holm)."
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
    errors: Errors,
    trained: Sequence[float],
    same_size: Errors,
    sizes: Sequence[float],
    bound: float,
    by_side: bool = False,
) -> Decision:
    """Is every reference error below ``bound``? Reproduced or inconclusive (Berger 1982).

    Where one is shown to lie above it, or does in every run alike, nothing was learned there: then the decision is
    ``idle``. The p-value is the largest; what is concluded from the ratios cannot be surer than that (:func:`given`).

    Args:
        errors: of the model under test; unless ``same_size`` is given, the reference are its errors at the training
            sizes nearest to ``sizes``, those that :func:`ratios` divides by.
        trained: the training sizes.
        same_size: of models trained at each size.
        sizes: the sizes compared.
        bound: pre-registered.
        by_side: as in :func:`judge_holds`.
    """
    reference, at = same_size, set(sizes)
    if not same_size:
        reference, at = errors, {t for size in sizes for t in _nearest(trained, size)}
    tests: dict[float, Decision | None] = {}
    p, idle = 0.0, False
    for size in sorted(at):
        logs = [_logarithm(curve[size]) for curve in reference.values() if size in curve]
        test = _test(logs, bound, "below", by_side) if logs else None
        if test is None or test.outcome is not Outcome.reproduced:
            tests[size] = test
            idle |= bool(logs) and _test(logs, bound, "below", by_side=True).outcome is Outcome.contradicted
        elif test.p_equivalence is not None:
            p = max(p, test.p_equivalence)
    if not tests:
        return Decision(Outcome.reproduced, n=len(errors), p_equivalence=p)
    listed = "; ".join(_told(size, test) if test else f"{size:g}: no runs" for size, test in tests.items())
    needed = [test.seeds_needed if test else None for test in tests.values()]
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
