"""Curves of errors against system size: what the figures of chains, bodies, swimmers and labels have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repro.evidence import Evidence
from repro.generalisation import breaking_point, ratios
from repro.plan import Arm
from repro.report.drawing import GREY, new_figure
from repro.report.figures import recorded_arm
from repro.statistics import mean_interval

Arms = Mapping[str, tuple[dict[str, Any], str, str]]
"""Labels to what an arm changes, its colour and its marker."""


def errors_of(
    evidence: Evidence, experiment: str, setting: Mapping[str, Any], quantity: str
) -> dict[int, dict[float, float]]:
    """Return seed to size to error of an arm at the highest tier that has records of it; empty without."""
    found = recorded_arm(evidence, experiment, setting)
    return evidence.by_index(found, quantity) if found else {}


def at_the_size(
    evidence: Evidence, experiment: str, setting: Mapping[str, Any], quantity: str
) -> dict[int, dict[float, float]]:
    """Return the errors of networks trained at each size, for as long as those that are compared with them."""
    own = recorded_arm(evidence, experiment, setting)
    return (
        evidence.by_index(Arm(experiment, own.setting | {"trained_on": "same_size"}), quantity) if own else {}
    )


def draw(
    axis: Axes, by_size: Mapping[float, Sequence[float]], colour: str, marker: str, label: str, **style: Any
) -> None:
    """Draw the geometric mean over seeds of logarithms by size, with its 90 % interval."""
    sizes = list(by_size)
    estimates = [mean_interval(by_size[s]) for s in sizes]
    sure = [
        (s, e) for s, e in zip(sizes, estimates, strict=True) if np.isfinite(e.low)
    ]  # one seed has no interval
    low, high = (
        [exp(min(v, 40.0)) for v in ends] for ends in ([e.low for _, e in sure], [e.high for _, e in sure])
    )
    axis.fill_between([s for s, _ in sure], low, high, color=colour, alpha=0.18, linewidth=0)
    values = [exp(e.value) for e in estimates]
    axis.plot(sizes, values, **{"color": colour, "marker": marker, "markersize": 4, "label": label, **style})


def logs_of(errors: Mapping[int, Mapping[float, float]]) -> dict[float, list[float]]:
    """Return size to the logarithms of all seeds' errors."""
    sizes = sorted({size for curve in errors.values() for size in curve})
    return {s: [log(max(curve[s], 1e-12)) for curve in errors.values()] for s in sizes}


def size_axis(axis: Axes, trained: Sequence[int], ticks: Sequence[int], name: str) -> None:
    """Make both axes logarithmic, with ``ticks`` and the training range in grey."""
    axis.axvspan(min(trained) - 0.3, max(trained) + 0.3, color="#e9e9e9", zorder=0, linewidth=0)
    axis.set(xscale="log", yscale="log", xlabel=name)
    axis.set_xticks(ticks, [str(t) for t in ticks])
    axis.minorticks_off()


def ring(axis: Axes, point: float | None, by_size: Mapping[float, Sequence[float]], colour: str) -> None:
    """Ring the breaking point."""
    if point is not None:
        axis.plot(
            point, exp(float(np.mean(by_size[point]))), "o", markersize=13, mec=colour, mfc="none", mew=2
        )


def error_and_transfer(
    evidence: Evidence, experiment: str, arms: Arms, trained: Sequence[int], ticks: Sequence[int], what: str
) -> Figure | None:
    """Draw one step's error against size, beside it that over the error of networks trained at each size."""
    if not any(errors_of(evidence, experiment, setting, "one_step_error") for setting, *_ in arms.values()):
        return None
    fig = new_figure(10, 4.6)
    left, right = fig.subplots(1, 2)
    for label, (setting, colour, marker) in arms.items():
        own = errors_of(evidence, experiment, setting, "one_step_error")
        same = at_the_size(evidence, experiment, setting, "one_step_error")
        if own:
            draw(left, logs_of(own), colour, marker, label)
        if same:
            draw(left, logs_of(same), colour, marker, "_", linestyle=":", markerfacecolor="white")
        if own and same:
            tau = ratios(own, trained, "same_size", same)
            draw(right, tau, colour, marker, "_")
            ring(right, breaking_point(tau, trained, 2.0), tau, colour)
    for axis in (left, right):
        size_axis(axis, trained, ticks, f"{what} (grey: trained on)")
        axis.axhline(1, color=GREY, linewidth=1)
    right.set_ylabel("τ: error / that of a network trained at the size")
    right.axhline(2, color=GREY, linewidth=1, linestyle="--")
    right.text(max(ticks), 2.15, "considerable: 2", ha="right", fontsize=8, color=GREY)
    left.plot([], [], ":", color=GREY, marker="o", mfc="white", label="dotted: trained at each size itself")
    fig.legend(loc="outside lower center", ncols=2)
    return fig


RINGS = (
    "Geometric means over seeds with 90 % intervals. Rings mark the breaking point: the first size beyond the "
    "training range whose ratio is shown to exceed 2, there and at all larger ones; they do not ask, as the "
    "verdicts do, whether the network trained at the size has learned anything."
)
