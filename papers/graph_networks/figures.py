"""This paper's figures, drawn from records: error against size, what transfer costs, a film, energy over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repro.evidence import Evidence, main_source
from repro.generalisation import breaking_point, ratios
from repro.plan import Arm
from repro.report.animation import Film, Take
from repro.report.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, Drawn, new_figure
from repro.report.figures import Sources, Verdicts, deviation_effects, recorded_arm, training_in_words
from repro.statistics import mean_interval

CHAIN, SWIMMER, BODIES, LABELLED = (5, 6, 7, 8), (3, 4, 5, 6, 8, 9), (6,), (8, 16)
MASSES = (4, 5, 6, 8, 12, 16, 24, 32, 48)  # where an axis has ticks
LINKS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30)
Arms = Mapping[str, tuple[dict[str, Any], str, str]]
"""Labels to what an arm changes, its colour and its marker."""
CHAIN_ARMS: Arms = {
    "the demo's: absolute positions, gravity": ({}, BLUE, "o"),
    "relative positions, gravity": ({"positions": "relative"}, ORANGE, "s"),
    "relative positions, no gravity": ({"positions": "relative", "gravity": False}, GREEN, "^"),
}
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
LABEL_ARMS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "sorted lists": ({}, BLUE, "o", "-"),
    "sorted lists, messages averaged": ({"pooling": "mean"}, BLUE, "o", ":"),
    "shortest paths": ({"task": "shortest_path"}, ORANGE, "s", "-"),
    "shortest paths, messages averaged": ({"task": "shortest_path", "pooling": "mean"}, ORANGE, "s", ":"),
}
SAME_SIZE = {"trained_on": "same_size"}


def figures(sources: Sources, verdicts: Verdicts) -> Iterator[Drawn]:
    """Yield the figures that the records allow: of the reference, or of the user's own where it has none."""
    for draw in (_chain, _matched, _bodies, _swimmers, _swims, _labels, _film, _energy):
        for evidence in sources.values():
            drawn = draw(evidence)
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


def _errors(
    evidence: Evidence, experiment: str, setting: Mapping[str, Any], quantity: str
) -> dict[int, dict[float, float]]:
    found = recorded_arm(evidence, experiment, setting)
    return evidence.by_index(found, quantity) if found else {}


def _at_the_size(
    evidence: Evidence, experiment: str, setting: Mapping[str, Any], quantity: str
) -> dict[int, dict[float, float]]:
    """Return the errors of networks trained at each size, for as long as those that are compared with them."""
    own = recorded_arm(evidence, experiment, setting)
    return evidence.by_index(Arm(experiment, own.setting | SAME_SIZE), quantity) if own else {}


def _line(
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


def _logs(errors: Mapping[int, Mapping[float, float]]) -> dict[float, list[float]]:
    sizes = sorted({size for curve in errors.values() for size in curve})
    return {s: [log(max(curve[s], 1e-12)) for curve in errors.values()] for s in sizes}


def _size_axis(axis: Axes, trained: Sequence[int], ticks: Sequence[int], name: str) -> None:
    axis.axvspan(min(trained) - 0.3, max(trained) + 0.3, color="#e9e9e9", zorder=0, linewidth=0)
    axis.set(xscale="log", yscale="log", xlabel=name)
    axis.set_xticks(ticks, [str(t) for t in ticks])
    axis.minorticks_off()


def _mark(axis: Axes, point: float | None, by_size: Mapping[float, Sequence[float]], colour: str) -> None:
    """Ring the breaking point."""
    if point is not None:
        axis.plot(
            point, exp(float(np.mean(by_size[point]))), "o", markersize=13, mec=colour, mfc="none", mew=2
        )


def _error_and_transfer(
    evidence: Evidence, experiment: str, arms: Arms, trained: Sequence[int], ticks: Sequence[int], what: str
) -> Figure | None:
    """Draw one step's error against size, beside it that over the error of networks trained at each size."""
    if not any(_errors(evidence, experiment, setting, "one_step_error") for setting, *_ in arms.values()):
        return None
    fig = new_figure(10, 4.6)
    left, right = fig.subplots(1, 2)
    for label, (setting, colour, marker) in arms.items():
        own = _errors(evidence, experiment, setting, "one_step_error")
        same = _at_the_size(evidence, experiment, setting, "one_step_error")
        if own:
            _line(left, _logs(own), colour, marker, label)
        if same:
            _line(left, _logs(same), colour, marker, "_", linestyle=":", markerfacecolor="white")
        if own and same:
            tau = ratios(own, trained, "same_size", same)
            _line(right, tau, colour, marker, "_")
            _mark(right, breaking_point(tau, trained, 2.0), tau, colour)
    for axis in (left, right):
        _size_axis(axis, trained, ticks, f"{what} (grey: trained on)")
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


def _chain(evidence: Evidence) -> Drawn | None:
    fig = _error_and_transfer(evidence, "chain", CHAIN_ARMS, CHAIN, MASSES, "masses")
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
    error = _errors(evidence, "chain", {}, "one_step_error")
    if not error:
        return None
    fig = new_figure(10, 4.4)
    left, right = fig.subplots(1, 2)
    _line(left, _logs(error), BLUE, "o", "all masses")
    matched = _errors(evidence, "chain", {}, "matched_error")
    _line(left, _logs(matched), ORANGE, "s", "masses whose inputs lie in the training range")
    for label, (setting, colour, marker) in CHAIN_ARMS.items():
        outside = _errors(evidence, "chain", setting, "outside_share")
        if outside:
            sizes = sorted(next(iter(outside.values())))
            means = [100 * float(np.mean([curve[s] for curve in outside.values()])) for s in sizes]
            right.plot(sizes, means, marker=marker, color=colour, markersize=4, label=label)
    for axis in (left, right):
        _size_axis(axis, CHAIN, MASSES, "masses (grey: trained on)")
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
    own = _errors(evidence, "prediction", {}, "relative_error")
    if not own:
        return None
    fig = new_figure(6.5, 4.4)
    axis = fig.subplots()
    _line(axis, _logs(own), BLUE, "o", "ours, trained on 6")
    same = _at_the_size(evidence, "prediction", {}, "relative_error")
    if same:
        _line(axis, _logs(same), ORANGE, "s", "ours, trained at the size", linestyle=":")
        found = recorded_arm(evidence, "prediction", {})
        alike = {**found.setting, **SAME_SIZE, "input_scale": "trained_size"} if found else {}
        scaled = evidence.by_index(Arm("prediction", alike), "relative_error")
        if scaled:
            _line(axis, _logs(scaled), GREY, "P", "the same, inputs scaled as for 6", linestyle=":")
    starless = _errors(evidence, "prediction", {}, "starless_error")
    _line(axis, _logs(starless), GREEN, "^", "trained on 6, no star")
    if same:
        starless = _at_the_size(evidence, "prediction", {}, "starless_error")
        _line(axis, _logs(starless), PURPLE, "v", "trained at the size, no star", linestyle=":")
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
    _size_axis(axis, BODIES, (3, 6, 9, 12, 16, 24), "bodies (grey: trained on)")
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


def _swimmers(evidence: Evidence) -> Drawn | None:
    fig = _error_and_transfer(evidence, "swimmer", SWIMMER_ARMS, SWIMMER, LINKS, "links")
    if fig is None:
        return None
    fig.axes[0].set_ylabel("error of a step / constant state's")
    return Drawn(
        fig,
        "Swimmers: a step's error against size",
        "Errors of single steps against 3 to 30 links, for each arm that has records, and their ratio to those of "
        "networks trained at each size",
        f"{training_in_words(evidence, 'swimmer', {'steps': 'steps', 'batch': 'moments a step'})} "
        "Seven links are left out of the training. Medians over episodes. Each arm takes away one more thing that "
        f"grows with the number of links. {RINGS}",
    )


def _swims(evidence: Evidence) -> Drawn | None:
    fig = new_figure(10, 4.8)
    left, right = fig.subplots(1, 2)
    trainings: tuple[tuple[str, dict[str, Any]], ...] = (
        ("swimmer", {}),
        ("swimmer_longer", {"linestyle": "--", "markerfacecolor": "white"}),
    )
    for label, (setting, colour, marker) in SWIMMER_ARMS.items():
        for experiment, style in trainings:
            swum = _errors(evidence, experiment, setting, "rollout_error")
            if swum:
                _line(right, _logs(swum), colour, marker, "_", **style)
        both = [_errors(evidence, name, setting, "one_step_error") for name, _ in trainings]
        left.plot([], [], color=colour, marker=marker, markersize=4, label=label)
        for errors, (_, style) in zip(both, trainings, strict=True):
            if all(both):
                _line(left, _logs(errors), colour, marker, "_", **style)
    if not right.lines:
        return None
    for axis, what in ((left, "a step"), (right, "100 steps")):
        _size_axis(axis, SWIMMER, LINKS, "links (grey: trained on)")
        axis.axhline(1, color=GREY, linewidth=1)
        axis.set_ylabel(f"error of {what} / constant state's")
    left.plot([], [], "--", color=GREY, marker="o", mfc="white", label="dashed: trained longer")
    fig.legend(loc="outside lower center", ncols=2)
    words = {"steps": "steps", "batch": "moments a step", "episodes": "episodes of each size"}
    longer = training_in_words(evidence, "swimmer_longer", words, list(SWIMMER_ARMS.values())[-1][0])
    return Drawn(
        fig,
        "Swimmers: a hundred steps, and longer training",
        "Errors of single steps after a shorter and a longer training, and of hundred-step rollouts, against 3 to 30 "
        "links",
        f"{training_in_words(evidence, 'swimmer', words)} {longer and f'Dashed: {longer} '}"
        "Left: single steps, where networks were trained longer too; right: a hundred, one after the other. Seven "
        "links are left out of the training. Medians over episodes, capped at 1000; geometric means over seeds with "
        "90 % intervals. The paper's Figure 6 shows rollouts of 3 to 15 links without printed values.",
    )


def _labels(evidence: Evidence) -> Drawn | None:
    found = {
        label: (_errors(evidence, "demo", setting, "label_error"), *style)
        for label, (setting, *style) in LABEL_ARMS.items()
    }
    if not any(errors for errors, *_ in found.values()):
        return None
    fig = new_figure(6.5, 4.4)
    axis = fig.subplots()
    sizes: set[float] = set()
    for label, (errors, colour, marker, line) in found.items():
        if errors:
            _line(axis, _logs(errors), colour, marker, label, linestyle=line)
            sizes.update(next(iter(errors.values())))
    _size_axis(axis, LABELLED, sorted(int(s) for s in sizes), "numbers or nodes (grey: trained on)")
    axis.axhline(1, color=GREY, linewidth=1)
    axis.text(min(sizes), 1.05, "labels nothing", fontsize=8, color=GREY)
    arms = {size: recorded_arm(evidence, "given", {"size": int(size)}) for size in sorted(sizes)}
    copied = {
        s: float(np.mean(list(evidence.values(a, "copied_error").values()))) for s, a in arms.items() if a
    }
    if copied:
        axis.plot(list(copied), list(copied.values()), "--", color=GREY, linewidth=1)
        axis.text(min(copied), 0.36, "copies the ends of a path", fontsize=8, color=GREY)
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
