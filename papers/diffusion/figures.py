"""This paper's figures, drawn from records: Figure 1 as an animation, samples, images, bounds, ceilings."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from repro.claims import Scalar
from repro.evidence import Evidence, main_source
from repro.plan import arm
from repro.report.drawing import BLUE, GREEN, GREY, ORANGE, PAPER, SOURCES, Drawn, new_figure
from repro.report.figures import (
    Sources,
    Verdicts,
    deviation_effects,
    mean_curve,
    recorded_arm,
    training_in_words,
)

Rows = list[dict[str, float]]


@dataclass(frozen=True)
class Animation(Drawn):
    """A figure of several frames, which plays in any browser without a script.

    Attributes:
        frames: the figures, in order; ``figure`` is the first of them.
    """

    frames: tuple[Figure, ...] = ()

    def still(self) -> str:
        """See :meth:`Drawn.still`."""
        return Drawn.svg(self)

    def svg(self) -> str:
        """Return the frames as the address of a GIF, a second each and the last for two."""
        pictures = []
        for figure in self.frames:
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64))
        buffer = io.BytesIO()
        durations = [1000] * (len(pictures) - 1) + [2500]
        pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
        return "data:image/gif;base64," + base64.b64encode(buffer.getvalue()).decode()


def _rows(
    evidence: Evidence, experiment: str, change: Mapping[str, Scalar] = MappingProxyType({})
) -> list[Rows]:
    """Return the rows of each seed of an arm, of the highest tier that has any."""
    found = recorded_arm(evidence, experiment, {}, change)
    return [record.rows for record in evidence.of(found)] if found else []


def _source(sources: Sources, experiment: str) -> tuple[str, list[Rows]]:
    """Return the first source with records of an experiment's default arm, and their rows."""
    for name, evidence in sources.items():
        if found := _rows(evidence, experiment):
            return name, found
    return "", []


def figures(sources: Sources, verdicts: Verdicts) -> Iterator[Drawn]:
    """Yield the figures that the records allow."""
    yield from _bounds(sources, verdicts)
    yield from _swiss_roll(sources)
    yield from _heartbeats(sources)
    yield from _ceilings(sources)
    yield from _dead_leaves(sources)
    yield from _pictures(sources)
    yield from _sides(sources)
    yield from _recipe(sources)
    drawn = deviation_effects(
        sources[main_source(sources)],
        "Difference of the mean over the same seeds between the alternative and our protocol.",
    )
    if drawn:
        yield drawn


def _bounds(sources: Sources, verdicts: Verdicts) -> Iterator[Drawn]:
    """K - L_null of Table 1 beside ours."""
    printed = {
        "swiss roll": 6.45,
        "binary heartbeat": 12.024,
        "bark": 1.5,
        "dead leaves": 3.536,
        "CIFAR-10": 11.5,
    }
    ours = {
        "swiss roll": "swiss_roll",
        "binary heartbeat": "heartbeat",
        "dead leaves": "dead_leaves",  # of side 16, the first of a record's rows
        "CIFAR-10": "cifar10",
    }
    found = {
        (source, row): [r[0] for r in _rows(evidence, experiment)]
        for source, evidence in sources.items()
        for row, experiment in ours.items()
    }
    if not any(found.values()):
        return
    fig = new_figure(7.5, 3.4)
    axis = fig.subplots()
    rows = list(printed)
    for y, row in enumerate(rows):
        axis.plot(printed[row], y, "D", color=PAPER, markerfacecolor="none", markersize=7, zorder=3)
        axis.annotate(
            f"{printed[row]:g}",
            (printed[row], y),
            (0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
        if not any(found.get((source, row)) for source in sources):
            axis.annotate(
                "not run here",
                (printed[row], y),
                (12, -3),
                textcoords="offset points",
                color=GREY,
                fontsize=8,
            )
    for k, source in enumerate(sources):
        colour, marker = SOURCES[source]
        for row in ours:
            values = [r["k_minus_l_null"] for r in found[source, row]]
            if values:
                axis.plot(
                    values,
                    [rows.index(row) + 0.22 + 0.15 * k] * len(values),
                    marker,
                    color=colour,
                    markersize=5,
                )
    caps = [r["k_minus_l_null"] + r["gap_to_cap"] for s in sources for r in found[s, "swiss roll"]]
    if caps:
        axis.plot([np.mean(caps)] * 2, [0.1, 0.5], color=GREEN, linewidth=2)
    handles = [
        axis.plot([], [], "D", color=PAPER, markerfacecolor="none", label="published")[0],
        *(
            axis.plot([], [], SOURCES[s][1], color=SOURCES[s][0], label=f"{s}, one per seed")[0]
            for s in sources
        ),
        axis.plot([], [], color=GREEN, linewidth=2, label="cap of our generator")[0],
    ]
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.4, -0.7)
    axis.set_xlim(0, 13.6)
    axis.set_xlabel("K - L_null [bits per point, sequence or pixel]")
    axis.grid(axis="y", visible=False)
    fig.legend(handles=handles, loc="outside lower center", ncols=(len(handles) + 1) // 2)
    yield Drawn(
        fig,
        "Table 1: bounds above the equilibrium",
        "Published K minus L_null of five data sets, with ours where there are runs",
        "The paper prints these values. Those of the reduced quick tier stand in where there are no runs of the "
        "paper's protocol. The cap is what a perfect reverse process would reach on our swiss roll; our dead leaves "
        "are of another generator than the paper's, of side 16.",
    )


def _cloud(axis: Axes, x: np.ndarray, y: np.ndarray, title: str) -> None:
    axis.plot(x, y, ".", color=BLUE, markersize=3)
    axis.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    axis.set_title(title, fontsize=10)


def _swiss_roll(sources: Sources) -> Iterator[Drawn]:
    source, seeds = _source(sources, "swiss_roll_path")
    if not seeds:
        return
    by_time: dict[int, Rows] = {}
    for row in seeds[0]:
        by_time.setdefault(int(row["entry"]) // 10000, []).append(row)
    frames = []
    for time in sorted(by_time, reverse=True):
        column = {name: np.array([r[name] for r in by_time[time]]) for name in by_time[time][0]}
        fig = new_figure(9.6, 3.6)
        axes = fig.subplots(1, 3, sharey=True)
        _cloud(axes[0], column["forward_x"], column["forward_y"], f"forward process, t = {time}")
        _cloud(axes[1], column["reverse_x"], column["reverse_y"], f"learned reverse process, t = {time}")
        few = slice(None, None, 2)
        axes[2].quiver(
            *(column[n][few] for n in ("reverse_x", "reverse_y", "drift_x", "drift_y")),
            color=ORANGE, angles="xy", scale_units="xy", scale=0.5, width=0.006,
        )  # fmt: skip
        axes[2].set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
        axes[2].set_title("drift of the next reverse step, doubled", fontsize=10)
        frames.append(fig)
    yield Animation(
        frames[0],
        "Figure 1: the swiss roll through time",
        "Animation from t = 40 down to t = 1: points of the forward process, of the learned reverse process, its drift",
        f"From noise (t = 40) to data (t = 1); coordinates in deviations of the data ({source} records, one seed). The "
        "paper shows t = 0, T/2 and T, and the drift f_μ(x, t) - x as arrows.",
        frames=tuple(frames),
    )


def _heartbeats(sources: Sources) -> Iterator[Drawn]:
    source, seeds = _source(sources, "heartbeat_samples")
    if not seeds:
        return
    evidence = sources[source]
    panels = {"trained": seeds[0]}
    untrained = _rows(evidence, "heartbeat_samples", {"steps": 0})
    if untrained:
        panels["untrained (control)"] = untrained[0]
    length = int(evidence.ledger.experiments["heartbeat_samples"].setting["length"])
    fig = new_figure(3.6 * len(panels) + 0.6, 4.2)
    axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        picture = [[int(row["sequence"]) >> i & 1 for i in range(length)] for row in rows]
        axis.imshow(picture, cmap="gray_r", aspect="auto", interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("time bin")
        axis.set_xticks(range(0, length, 5))
        axis.grid(visible=False)
    axes[0].set_ylabel("sample")
    yield Drawn(
        fig,
        "Figure 2: heartbeat samples",
        "Binary sequences as rows of black and white bins, from the trained and from the untrained reverse process",
        f"Each row is one sample; a faultless one has a 1 (black) in every fifth bin ({source} records, one seed).",
    )


def _ceilings(sources: Sources) -> Iterator[Drawn]:
    source, _ = _source(sources, "ceiling_by_steps")
    if not source:
        return
    evidence = sources[source]
    fig = new_figure(8.5, 3.6)
    axes = fig.subplots(1, 2, sharey=True)
    for axis, experiment, label in (
        (axes[0], "ceiling_by_steps", "steps T (length 20)"),
        (axes[1], "ceiling_by_length", "length of the sequence (T = 2000)"),
    ):
        xs, means, spans = mean_curve(evidence, arm(evidence.ledger, experiment), "ceiling_gap")
        if xs:
            axis.fill_between(xs, *np.transpose(spans), color=BLUE, alpha=0.2, linewidth=0)
            axis.plot(xs, means, "o-", color=BLUE)
        axis.set(xscale="log", yscale="log", xlabel=label)
        axis.set_xticks(xs, [f"{x:g}" for x in xs])
        axis.minorticks_off()
    axes[0].axhline(0.092, color=PAPER, linestyle="--", linewidth=1)
    axes[0].annotate("printed K", (axes[0].get_xlim()[0] * 1.1, 0.096), fontsize=8)
    axes[0].set_ylabel("log2(1/5) - ceiling [bits]")
    axes[0].set_yticks([0.03, 0.1, 0.3], ["0.03", "0.1", "0.3"])
    yield Drawn(
        fig,
        "The gap between the ceiling of independent bits and the truth, on the heartbeat",
        "Gap against the number of steps and against the length of the sequence, on logarithmic axes",
        "The best any reverse process of independent bits can do, below the true log likelihood of -2.322 bits; bands "
        f"are 90 % intervals ({source} records). The dashed line is that of the printed K at T = 2000. Nearly "
        "all of the gap is H(X1 | X0), because the last step of the reverse process is fixed; "
        "what independence adds is small.",
    )


NAMES = ("original", "noised", "denoised", "masked", "inpainted", "sampled")
TRAINING = {"steps": "updates", "T": "time steps"}  # what is reduced where it is


def _panel(fig: Figure, lines: Sequence[Sequence[np.ndarray]], span: tuple[float, float] | None) -> None:
    """Draw lines of one image for each of ``NAMES``, grey or coloured, ``(height, width, 1 or 3)``."""
    axes = fig.subplots(len(lines), len(NAMES), squeeze=False)
    for i, (row, line) in enumerate(zip(axes, lines, strict=True)):
        # The levels of the original decide: a sample's outliers are cut off rather than dimming all others.
        low, high = span or (line[0].min(), line[0].max())
        for axis, name, picture in zip(row, NAMES, line, strict=True):
            shown = np.clip((picture - low) / (high - low), 0, 1)
            axis.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(visible=False)
            if i == 0:
                axis.set_title(name, fontsize=10)


def _dead_leaves(sources: Sources) -> Iterator[Drawn]:
    source, seeds = _source(sources, "dead_leaves_posterior")
    if not seeds:
        return
    shown = seeds[:2]
    side = round(len(shown[0]) ** 0.5)
    lines = [
        [np.array([row[name] for row in rows]).reshape(side, side, 1) for name in NAMES] for rows in shown
    ]
    fig = new_figure(10, 1.9 * len(shown))
    _panel(fig, lines, (-2, 2))
    yield Drawn(
        fig,
        "Dead leaves: denoising, inpainting, samples",
        "Rows of images: original, noised, denoised, masked, inpainted, and an unrelated sample",
        f"A small model trained on images of side 16, applied at side {side} ({source} records, one seed per row). "
        f"{training_in_words(sources[source], 'dead_leaves_posterior', TRAINING)} "
        "Noise of the data's own variance. The paper denoises CIFAR-10 and inpaints bark.",
    )


def _pictures(sources: Sources) -> Iterator[Drawn]:
    for experiment, title, shape in (
        ("mnist", "MNIST", (1, 28, 28)),
        ("cifar10", "CIFAR-10", (3, 32, 32)),
    ):
        source, seeds = _source(sources, experiment)
        if not seeds:
            continue
        columns = [np.array([row[name] for row in seeds[0]]).reshape(-1, *shape) for name in NAMES]
        lines = [[column[i].transpose(1, 2, 0) for column in columns] for i in range(min(4, len(columns[0])))]
        fig = new_figure(10, 1.75 * len(lines))
        _panel(fig, lines, None)
        parzen = ", ".join(f"{rows[0]['parzen_bits']:.0f}" for rows in seeds)
        yield Drawn(
            fig,
            f"{title}: data, denoising, inpainting, samples",
            "Rows of images: original, noised, denoised, masked, inpainted, and an unrelated sample",
            f"Originals are test images. {source.capitalize()} records, one seed. "
            f"{training_in_words(sources[source], experiment, TRAINING)} "
            f"Parzen estimates of the seeds' samples: {parzen} bits.",
        )


def _sides(sources: Sources) -> Iterator[Drawn]:
    source, _ = _source(sources, "dead_leaves")
    if not source:
        return
    evidence = sources[source]
    fig = new_figure(6.5, 3.9)
    axis = fig.subplots()
    arms: Sequence[tuple[str, dict[str, Any], str, str]] = (
        ("multi-scale, trained at 16", {}, BLUE, "o-"),
        ("multi-scale, trained at each side", {"trained_on": "same_size"}, GREEN, "^--"),
        ("one scale, trained at 16", {"network": "single_scale"}, ORANGE, "s-"),
        ("single pixels, trained at 16", {"network": "pixelwise"}, GREY, "v-"),
    )
    for label, change, colour, line in arms:
        if one := recorded_arm(evidence, "dead_leaves", change):
            xs, curves = evidence.curve(one, "k_minus_l_null")
            for curve in curves:
                axis.plot(xs, curve, line[0], color=colour, markersize=4, alpha=0.6)
            axis.plot(xs, np.mean(curves, axis=0), line[1:], color=colour, label=label)
    axis.set(xscale="log", xlabel="side of the test images [pixels]", ylabel="K - L_null [bits per pixel]")
    axis.set_xticks([16, 32, 64], ["16", "32", "64"])
    axis.minorticks_off()
    fig.legend(loc="outside lower center", ncols=2)
    yield Drawn(
        fig,
        "Dead leaves: bounds by image side",
        "K minus L_null per pixel against the side of the test images, for four models",
        f"Markers are seeds, lines their means ({source} records; the quick tier trains for minutes, so heights mean "
        "little and only orders and ratios are judged).",
    )


def _recipe(sources: Sources) -> Iterator[Drawn]:
    source, _ = _source(sources, "recipe_on_gaussians")
    if not source:
        return
    evidence = sources[source]
    fig = new_figure(6, 3.6)
    axis = fig.subplots()
    for power, label, colour, line in (
        (1.0, "r in every kernel, as printed", ORANGE, "s-"),
        (0.5, "√r in every kernel", BLUE, "o-"),
    ):
        seeds = _rows(evidence, "recipe_on_gaussians", {"power": power})
        if seeds:
            axis.plot(
                [r["steps"] for r in seeds[0]],
                [r["mean_error"] for r in seeds[0]],
                line,
                color=colour,
                label=label,
            )
    axis.set(
        xscale="log", yscale="log", xlabel="steps T", ylabel="error of the posterior's mean\n[its deviations]"
    )
    fig.legend(loc="outside lower center", ncols=2)
    yield Drawn(
        fig,
        "Section 2.5: multiplying every kernel by r",
        "Error of the posterior mean against the number of steps, for r and for its square root in every kernel",
        "x ~ N(0, 1) and r(x) = N(2; x, 1), followed exactly. With r in every kernel, constant in t, the result tends "
        "to p(x) r(x)²; with its root it tends to p(x) r(x).",
    )
