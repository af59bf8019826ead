"""This paper's figures, drawn from records: error against size, what transfer costs, a film, energy over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from papers.graph_networks.figures_by_size import (
    RINGS,
    Arms,
    at_the_size,
    draw,
    error_and_transfer,
    errors_of,
    logs_of,
    size_axis,
)
from papers.graph_networks.figures_of_swimmers import rollouts, swimmers, trained_longer
from repro.evidence import Evidence, main_source
from repro.plan import Arm
from repro.report.animation import Film, Take
from repro.report.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, Drawn, new_figure
from repro.report.figures import Sources, Verdicts, deviation_effects, recorded_arm, training_in_words

CHAIN, BODIES, LABELLED = (5, 6, 7, 8), (6,), (8, 16)
MASSES = (4, 5, 6, 8, 12, 16, 24, 32, 48)  # where an axis has ticks
CHAIN_ARMS: Arms = {
    "the demo's: absolute positions, gravity": ({}, BLUE, "o"),
    "relative positions, gravity": ({"positions": "relative"}, ORANGE, "s"),
    "relative positions, no gravity": ({"positions": "relative", "gravity": False}, GREEN, "^"),
}
LABEL_ARMS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "sorted lists": ({}, BLUE, "o", "-"),
    "sorted lists, messages averaged": ({"pooling": "mean"}, BLUE, "o", ":"),
    "shortest paths": ({"task": "shortest_path"}, ORANGE, "s", "-"),
    "shortest paths, messages averaged": ({"task": "shortest_path", "pooling": "mean"}, ORANGE, "s", ":"),
}


def figures(sources: Sources, verdicts: Verdicts) -> Iterator[Drawn]:
    """Yield the figures that the records allow: of the reference, or of the user's own where it has none."""
    for figure in (_chain, _matched, _bodies, swimmers, rollouts, trained_longer, _labels, _film, _energy):
        for evidence in sources.values():
            drawn = figure(evidence)
            if drawn:
                yield drawn
                break
    drawn = deviation_effects(
        sources[main_source(sources)],
        "Difference of the mean relative error over the same seeds, between the alternative and our protocol, at 6 "
        "bodies (penalties: at 12). The paper says that noise on the inputs has no clear effect on the test error. "
        "Which way planets go round is measured on the network without relations.",
    )
    if drawn:
        yield drawn


def _chain(evidence: Evidence) -> Drawn | None:
    fig = error_and_transfer(evidence, "chain", CHAIN_ARMS, CHAIN, MASSES, "masses")
    if fig is None:
        return None
    fig.axes[0].set_ylabel("one-step error / constant velocity's")
    return Drawn(
        fig,
        "Mass-spring chain: error against size",
        "One-step error of three arms against the number of masses from 4 to 48, and its ratio to a network trained "
        "at each size",
        f"{training_in_words(evidence, 'chain', {'steps': 'steps', 'batch': 'scenes a step'})} "
        f"{RINGS} The demo tests 4 and 9 masses and prints no losses.",
    )


def _matched(evidence: Evidence) -> Drawn | None:
    error = errors_of(evidence, "chain", {}, "one_step_error")
    if not error:
        return None
    fig = new_figure(10, 4.4)
    left, right = fig.subplots(1, 2)
    draw(left, logs_of(error), BLUE, "o", "all masses")
    matched = errors_of(evidence, "chain", {}, "matched_error")
    draw(left, logs_of(matched), ORANGE, "s", "masses whose inputs lie in the training range")
    for label, (setting, colour, marker) in CHAIN_ARMS.items():
        outside = errors_of(evidence, "chain", setting, "outside_share")
        if outside:
            sizes = sorted(next(iter(outside.values())))
            means = [100 * float(np.mean([curve[s] for curve in outside.values()])) for s in sizes]
            right.plot(sizes, means, marker=marker, color=colour, markersize=4, label=label)
    for axis in (left, right):
        size_axis(axis, CHAIN, MASSES, "masses (grey: trained on)")
    left.axhline(1, color=GREY, linewidth=1)
    right.set_yscale("linear")
    right.set_ylim(0, None)
    left.set_ylabel("one-step error / constant velocity's")
    right.set_ylabel("inputs outside the training range [%]")
    left.legend(loc="upper left", fontsize=8)
    right.legend(loc="upper left", fontsize=8)
    return Drawn(
        fig,
        "Mass-spring chain: what leaves the training range",
        "Error of all masses and of those whose inputs lie in the training range; share of inputs outside it",
        f"{training_in_words(evidence, 'chain', {'steps': 'steps', 'batch': 'scenes a step'})} "
        "Left: absolute positions and gravity; geometric means over seeds with 90 % intervals. In the training "
        "range: every input of a mass and of its neighbours, each by itself, lies between the 0.5 and 99.5 "
        "percentiles of training; at 24 masses and more only some in free fall are left. Right: the share of single "
        "inputs outside that, for three ways of stating the chain.",
    )


def _bodies(evidence: Evidence) -> Drawn | None:
    own = errors_of(evidence, "prediction", {}, "relative_error")
    if not own:
        return None
    fig = new_figure(6.5, 4.4)
    axis = fig.subplots()
    draw(axis, logs_of(own), BLUE, "o", "ours, trained on 6")
    same = at_the_size(evidence, "prediction", {}, "relative_error")
    if same:
        draw(axis, logs_of(same), ORANGE, "s", "ours, trained at the size", linestyle=":")
        found = recorded_arm(evidence, "prediction", {})
        alike = {**found.setting, "trained_on": "same_size", "input_scale": "trained_size"} if found else {}
        scaled = evidence.by_index(Arm("prediction", alike), "relative_error")
        if scaled:
            draw(axis, logs_of(scaled), GREY, "P", "the same, inputs scaled as for 6", linestyle=":")
    starless = errors_of(evidence, "prediction", {}, "starless_error")
    draw(axis, logs_of(starless), GREEN, "^", "trained on 6, no star")
    if same:
        starless = at_the_size(evidence, "prediction", {}, "starless_error")
        draw(axis, logs_of(starless), PURPLE, "v", "trained at the size, no star", linestyle=":")
    printed = {3: (0.052 / 45, 0.21 / 45), 6: (0.25 / 82,) * 2, 12: (7.8 / 166, 5.2 / 166)}
    axis.plot(
        list(printed),
        [p[0] for p in printed.values()],
        "D-",
        color=BLUE,
        mfc="white",
        label="printed, trained on 6",
    )
    ends = {n: p for n, p in printed.items() if n != 6}
    axis.plot(
        list(ends),
        [p[1] for p in ends.values()],
        "D:",
        color=ORANGE,
        mfc="white",
        label="printed, trained at the size",
    )
    size_axis(axis, BODIES, (3, 6, 9, 12, 16, 24), "bodies (grey: trained on)")
    axis.axhline(1, color=GREY, linewidth=1)
    axis.set_ylabel("velocity's error / constant velocity's")
    fig.legend(loc="outside lower center", ncols=2)
    return Drawn(
        fig,
        "Interaction Network: n-body error against size",
        "Relative error against 3 to 24 bodies, ours and printed, for transfer and for training at the size",
        f"{training_in_words(evidence, 'prediction', {'steps': 'steps', 'batch': 'scenes a step'})} "
        "Printed values are those of 1612.00222, Tables 2 and 3, divided by the constant velocity's. After a short "
        "training compare slopes and gaps, not levels. Half of the scenes have a star, whose pull is most of the "
        "error of a constant velocity; without it several bodies pull about as much.",
    )


def _labels(evidence: Evidence) -> Drawn | None:
    found = {
        label: (errors_of(evidence, "demo", setting, "label_error"), *style)
        for label, (setting, *style) in LABEL_ARMS.items()
    }
    if not any(errors for errors, *_ in found.values()):
        return None
    fig = new_figure(6.5, 4.4)
    axis = fig.subplots()
    sizes: set[float] = set()
    for label, (errors, colour, marker, line) in found.items():
        if errors:
            draw(axis, logs_of(errors), colour, marker, label, linestyle=line)
            sizes.update(next(iter(errors.values())))
    size_axis(axis, LABELLED, sorted(int(s) for s in sizes), "numbers or nodes (grey: trained on)")
    axis.axhline(1, color=GREY, linewidth=1)
    axis.text(min(sizes), 1.05, "labels nothing", fontsize=8, color=GREY)
    arms = {size: recorded_arm(evidence, "given", {"size": int(size)}) for size in sorted(sizes)}
    copied = {
        s: float(np.mean(list(evidence.values(a, "copied_error").values()))) for s, a in arms.items() if a
    }
    if copied:
        axis.plot(list(copied), list(copied.values()), "--", color=GREY, linewidth=1)
        axis.annotate(
            "copies the ends of a path",
            (max(copied), copied[max(copied)]),
            (0, 4),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=GREY,
        )
    axis.set_ylabel("wrong labels / labels to be set")
    fig.legend(loc="outside lower center", ncols=2)
    return Drawn(
        fig,
        "Sorting and shortest paths: label error against size",
        "Wrong labels over labels to be set against the size, for each of the two tasks",
        f"{training_in_words(evidence, 'demo', {'steps': 'steps', 'batch': 'graphs a step'})} "
        "Geometric means over seeds with 90 % intervals. The demos train on 8 to 16 and test on 16 to 32; what lies "
        "beyond is ours. The ends of a path are inputs: a rule that copies them, and an edge between them, searches "
        "for nothing.",
    )


FILMED = {8: "8 masses, a training size", 12: "12 masses", 24: "24 masses"}


def _frames(evidence: Evidence, who: str, masses: int) -> np.ndarray | None:
    found = recorded_arm(evidence, "film", {"who": who, "masses": masses})
    if found is None:
        return None
    rows = sorted(evidence.of(found)[0].rows, key=lambda row: row["dot"])
    return np.array([[row["x"], row["y"], row["energy_gain"]] for row in rows]).reshape(-1, masses, 3)


def _film(evidence: Evidence) -> Drawn | None:
    takes = [
        Take(title, truth[..., :2], network[..., :2])
        for masses, title in FILMED.items()
        if (truth := _frames(evidence, "truth", masses)) is not None
        and (network := _frames(evidence, "network", masses)) is not None
    ]
    if not takes:
        return None
    return Film.of(
        takes,
        "Mass-spring chain: a film",
        "Chains of " + ", ".join(take.title for take in takes) + ": the simulator's and the network's motion",
        f"{training_in_words(evidence, 'film', {'steps': 'steps', 'batch': 'scenes a step'})} "
        "Five seconds at half speed, in a loop: the simulator (grey circles) and the demo's network after a short "
        "training, from the same start and then from its own predictions (orange squares). Each panel has a scale of "
        "its own; both ends are fixed.",
    )


def _energy(evidence: Evidence) -> Drawn | None:
    taken = {n: [_frames(evidence, who, n) for who in ("truth", "network")] for n in FILMED}
    if any(frames is None for both in taken.values() for frames in both):
        return None
    fig = new_figure(10, 3.6)
    axes = fig.subplots(1, len(taken))
    for axis, (masses, both) in zip(axes, taken.items(), strict=True):
        for frames, who, colour, line in zip(
            both, ("simulator", "network"), (GREY, ORANGE), ("-", "--"), strict=True
        ):
            assert frames is not None
            axis.plot(np.arange(len(frames)) / 10, frames[:, 0, 2], line, color=colour, label=who)
        axis.set_title(FILMED[masses], fontsize=10)
        axis.set_xlabel("time [s]")
    axes[0].set_ylabel("energy since the start\n/ largest kinetic energy")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return Drawn(
        fig,
        "Mass-spring chain: energy over time",
        "Energy of the filmed chains over five seconds, in the simulator and in the network",
        "The demo's springs are not equally stiff in both directions and its time step is long, so that the simulator "
        "itself does not keep the energy.",
    )
