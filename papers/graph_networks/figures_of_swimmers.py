"""Swimmers' figures: a step against the number of links and what transfer costs, rollouts, longer training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator

from papers.graph_networks.figures_by_size import (
    RINGS,
    Arms,
    draw,
    error_and_transfer,
    errors_of,
    logs_of,
    size_axis,
)
from repro.evidence import Evidence
from repro.report.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, Drawn, new_figure
from repro.report.figures import recorded_arm, training_in_words
from repro.words import number

SWIMMER = (3, 4, 5, 6, 8, 9)
LINKS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30)  # where an axis has ticks
SWIMMER_ARMS: Arms = {
    "joints limited to 360°/N": ({}, BLUE, "o"),
    "joints limited to 60°": ({"limits": "fixed"}, ORANGE, "s"),
    "and positions relative to the neighbour": ({"limits": "fixed", "positions": "relative"}, GREEN, "^"),
    "and no sum over all links": (
        {"limits": "fixed", "positions": "relative", "pooling": "none"},
        PURPLE,
        "D",
    ),
}


def swimmers(evidence: Evidence) -> Drawn | None:
    """Draw what a step errs, and what transfer costs."""
    fig = error_and_transfer(evidence, "swimmer", SWIMMER_ARMS, SWIMMER, LINKS, "links")
    if fig is None:
        return None
    fig.axes[0].set_ylabel("error of a step / constant state's")
    return Drawn(
        fig,
        "Swimmers: a step's error against size",
        "Errors of single steps against 3 to 30 links, for each arm that has records, and their ratio to those of "
        "networks trained at each size",
        f"{_training(evidence, 'swimmer', {})} "
        "Seven links are left out of the training. Medians over episodes. Each arm takes away one more thing that "
        f"grows with the number of links. {RINGS}",
    )


def rollouts(evidence: Evidence) -> Drawn | None:
    """Draw what a hundred steps err."""
    arms = [
        (label, errors_of(evidence, "swimmer", own, "rollout_error"), colour, marker)
        for label, (own, colour, marker) in SWIMMER_ARMS.items()
    ]
    if not any(errors for _, errors, *_ in arms):
        return None
    fig = new_figure(6.5, 4.6)
    axis = fig.subplots()
    for label, errors, colour, marker in arms:
        if errors:
            draw(axis, logs_of(errors), colour, marker, label)
    size_axis(axis, SWIMMER, LINKS, "links (grey: trained on, but for 7)")
    axis.axhline(1, color=GREY, linewidth=1)
    axis.set_ylabel("error of 100 steps / constant state's")
    fig.legend(loc="outside lower center", ncols=2)
    return Drawn(
        fig,
        "Swimmers: a hundred steps against size",
        "Errors of hundred-step rollouts against 3 to 30 links, for each arm that has records",
        f"{_training(evidence, 'swimmer', {})} Medians over episodes, capped at 1000; geometric means over "
        "seeds with 90 % intervals. The paper's Figure 6 shows 3 to 15 links without printed values.",
    )


def trained_longer(evidence: Evidence) -> Drawn | None:
    """Draw both beside what they are after a longer training, for the arms that had one."""
    trained = [own for own, *_ in SWIMMER_ARMS.values() if recorded_arm(evidence, "swimmer_longer", own)]
    if not trained:
        return None
    fig = new_figure(10, 4.6)
    axes = fig.subplots(1, 2)
    trainings: tuple[tuple[str, dict[str, Any]], ...] = (
        ("swimmer", {}),
        ("swimmer_longer", {"linestyle": "--", "markerfacecolor": "white"}),
    )
    whole = ""
    for label, (setting, colour, marker) in SWIMMER_ARMS.items():
        # Beside the others "and ..." says it all; alone it needs what came before.
        whole = f"{whole}, {label.removeprefix('and ')}" if label.startswith("and ") else label
        if setting not in trained:
            continue
        for axis, quantity in zip(axes, ("one_step_error", "rollout_error"), strict=True):
            for experiment, style in trainings:
                errors = errors_of(evidence, experiment, setting, quantity)
                draw(axis, logs_of(errors), colour, marker, "_" if style else whole, **style)
    for axis, what in zip(axes, ("a step", "100 steps"), strict=True):
        size_axis(axis, SWIMMER, LINKS, "links (grey: trained on, but for 7)")
        axis.axhline(1, color=GREY, linewidth=1)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # a decade has too few ticks
        axis.yaxis.set_major_formatter(FuncFormatter(lambda x, _: number(x)))
        axis.set_ylabel(f"error of {what} / constant state's")
    axes[0].plot([], [], "--", color=GREY, marker="o", mfc="white", label="dashed: trained longer")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return Drawn(
        fig,
        "Swimmers: after longer training",
        "Errors of single steps and of hundred-step rollouts after a shorter and a longer training, against 3 to 30 "
        "links",
        f"{_training(evidence, 'swimmer', {})} Dashed: "
        f"{_training(evidence, 'swimmer_longer', trained[0])} Medians over episodes, capped at 1000; "
        "geometric means over seeds with 90 % intervals, which may reach beyond.",
    )


def _training(evidence: Evidence, experiment: str, setting: Mapping[str, Any]) -> str:
    counts = {"steps": "steps", "batch": "moments a step", "episodes": "episodes of each size"}
    return training_in_words(evidence, experiment, counts, setting)
