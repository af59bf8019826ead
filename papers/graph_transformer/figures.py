"""This paper's figures, drawn from records: tables, learned attention, eigenvectors, size, smoothing, cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from repro.evidence import Evidence, main_source
from repro.ledger import Ledger
from repro.plan import arm
from repro.report.drawing import BLUE, GREEN, GREY, ORANGE, PAPER, PURPLE, SKY, Drawn, new_figure
from repro.report.figures import Sources, Verdicts, mean_curve, table_dots
from repro.statistics import mean_interval

Curve = tuple[list[float], list[float], list[tuple[float, float]]]


def figures(sources: Sources, verdicts: Verdicts) -> Iterator[Drawn]:
    """Yield the figures that the records allow."""
    evidence = sources[main_source(sources)]
    ledger = evidence.ledger
    yield from _tables(ledger, evidence, verdicts)
    for draw in (_reduced, _attention, _bottleneck, _eigenvectors, _size, _matched, _smoothing, _cost):
        drawn = draw(ledger, evidence)
        if drawn:
            yield drawn


def _tables(ledger: Ledger, evidence: Evidence, verdicts: Verdicts) -> Iterator[Drawn]:
    degree = list(evidence.values(arm(ledger, "without_learning", {}), "rule_accuracy").values())
    for table, name in (("GT-T1-zinc", "ZINC"), ("GT-T1-cluster", "CLUSTER"), ("GT-T1-pattern", "PATTERN")):
        caption = (
            "Diamonds are the published means of four runs, grey bars the margin of the ledger. Our own values stand "
            "here only where the paper's full protocol was run."
            + (
                " Cells printed with a deviation above 2 are not judged and left out."
                if name != "ZINC"
                else ""
            )
        )
        drawn = table_dots(ledger, verdicts, table, f"Table 1: {name}", caption)
        if name == "PATTERN" and degree:
            for axis in drawn.figure.axes:
                axis.axvline(float(np.mean(degree)), color=GREEN, linestyle="--", linewidth=1.5)
            drawn = Drawn(
                drawn.figure,
                drawn.title,
                drawn.alt + "; a line for the degree threshold",
                caption + " The dashed green line is a threshold on the degree, which needs no network.",
            )
        yield drawn


def _dots(axis: Any, labels: list[str], values: Mapping[str, list[float]], guess: float) -> None:
    """One row per label: seeds, their mean with its interval; a line for guessing."""
    for label, runs in values.items():
        y = labels.index(label)
        e = mean_interval(runs)
        axis.plot([e.low, e.high], [y, y], color=BLUE, linewidth=2)
        axis.plot(runs, [y] * len(runs), "o", color=BLUE, markersize=4, markerfacecolor="none")
        axis.plot(e.value, y, "o", color=BLUE, markersize=6)
    axis.axvline(guess, color=GREY, linestyle=":", linewidth=1.2)
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)


def _reduced(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    """The short trainings of the quick tier, arm by arm."""
    arms = {
        "sparse, LapPE": {},
        "sparse, no PE": {"encoding": "none"},
        "full, LapPE": {"graph": "full"},
        "full, no PE": {"graph": "full", "encoding": "none"},
    }
    found: dict[str, dict[str, list[float]]] = {"pattern": {}, "cluster": {}}
    for name, values in found.items():
        for label, change in arms.items():
            records = evidence.values(arm(ledger, name, change, tier="quick"), "test_accuracy")
            if records:
                values[label] = list(records.values())
    if not any(found.values()):
        return None
    fig = new_figure(8.5, 3.0)
    axes = fig.subplots(1, 2, sharey=True)
    for axis, (name, values) in zip(axes, found.items(), strict=True):
        _dots(axis, list(arms), values, 50 if name == "pattern" else 100 / 6)
        axis.set_title(f"{name.upper()}, reduced", fontsize=10)
        axis.set_xlabel("test accuracy [%]")
    return Drawn(
        fig,
        "A short training: who sees structure",
        "Class-balanced test accuracy of four arms on reduced PATTERN and CLUSTER",
        "Not the paper's protocol: 200 graphs of at most 72 nodes, three layers of width 32, 15 "
        "epochs. Open circles are seeds, full ones their mean with its 90 % interval; the dotted line is one guess for "
        "all nodes. Only sparse against full attention, printed with a gap of ten points or more, is judged on these, "
        "by a rule drawn after a pilot of one seed.",
    )


def _attention(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    curve = arm(ledger, "attention", {})
    xs, means, spans = mean_curve(evidence, curve, "attention_weight")
    if not xs:
        return None
    fig = new_figure(8.5, 3.4)
    left, right = fig.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1.5]})
    angle = np.pi / 2 - 2 * np.pi * np.array(xs) / len(xs)
    x, y = np.cos(angle), np.sin(angle)
    left.plot(np.r_[x, x[0]], np.r_[y, y[0]], color="#cccccc", linewidth=1, zorder=1)
    for i, weight in enumerate(means):
        if i:
            left.plot([x[0], x[i]], [y[0], y[i]], color=BLUE, alpha=0.9, linewidth=8 * weight, zorder=2)
    left.scatter(x[1:], y[1:], s=45, color="#dddddd", edgecolor=GREY, zorder=3)
    left.scatter(x[:1], y[:1], s=70, color=ORANGE, edgecolor=GREY, zorder=4)
    left.annotate("attends", (x[0], y[0]), (0, 9), textcoords="offset points", ha="center", fontsize=9)
    left.set_aspect("equal")
    left.set_ylim(-1.25, 1.45)
    left.axis("off")
    right.bar(xs, means, color=BLUE, width=0.7)
    low, high = np.transpose(spans)
    right.errorbar(xs, means, [means - low, high - means], fmt="none", ecolor=GREY, capsize=2)
    right.set_xlabel("steps along the ring")
    right.set_ylabel("attention weight")
    right.set_xticks(xs)
    right.grid(axis="x", visible=False)
    return Drawn(
        fig,
        "Learned attention on one graph",
        "A ring of twelve nodes with the learned attention of one node, and the weights by steps along the ring",
        "One layer of full attention with Laplacian eigenvectors, trained to tell the token of the node opposite; "
        "weights on a ring it has not seen, averaged over its nodes, of the head with the sharpest weights. Lines are "
        f"as wide as the weight is large. Bars are means over {len(evidence.of(curve))} seeds with 90 % intervals.",
    )


def _bottleneck(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    arms = {
        "GT, full attention": {},
        "GT, neighbours": {"graph": "sparse"},
        "GCN": {"model": "gcn", "graph": "sparse"},
        "GAT": {"model": "gat", "graph": "sparse"},
    }
    depths: dict[int, Mapping[str, Any]] = {
        2: {"depth": 2},
        3: {},
        4: {"depth": 4, "train": 16384},
        5: {"depth": 5, "train": 65536},
    }
    found: dict[int, dict[str, list[float]]] = {}
    for depth, deep in depths.items():
        for label, change in arms.items():
            values = evidence.values(arm(ledger, "tree_match", change, deep), "root_accuracy")
            if len(values) > 1:
                found.setdefault(depth, {})[label] = list(values.values())
    if not found:
        return None
    fig = new_figure(8.5, 2.6)
    axes = np.atleast_1d(fig.subplots(1, len(found), sharey=True))
    for axis, (depth, values) in zip(axes, found.items(), strict=True):
        _dots(axis, list(arms), values, 25)
        axis.set_title(f"depth {depth}", fontsize=10)
        axis.set_xlabel("accuracy at the root [%]")
        axis.set_xlim(-5, 105)
    return Drawn(
        fig,
        "The bottleneck task",
        "Accuracy at the root of binary trees for up to four networks, one panel per depth",
        "The root asks for the value of the one leaf with its key; networks have one layer more than the tree is deep. "
        + "".join(
            f"Depth {depth}, with {times} times as many trees to learn from, "
            + ("is beside them. " if depth in found else "has not been run. ")
            for depth, times in ((4, 16), (5, 64))
        )
        + "A network without dots has not been run at that depth. Open circles are seeds, full ones their mean "
        "with its 90 % interval; the dotted line is guessing.",
    )


def _eigenvectors(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    curve = arm(ledger, "eigenvector_content", {})
    xs, means, spans = mean_curve(evidence, curve, "community_share")
    if not xs:
        return None
    fig = new_figure(6.5, 3.0)
    axis = fig.subplots()
    low, high = np.transpose(spans)
    axis.bar(xs, means, color=BLUE, width=0.7)
    axis.errorbar(xs, means, [means - low, high - means], fmt="none", ecolor=GREY, capsize=3)
    axis.set_xlabel("eigenvector of the normalised Laplacian, by rising eigenvalue")
    axis.set_ylabel("share of variance\nbetween communities")
    axis.set_xticks(xs)
    axis.set_ylim(0, 1)
    axis.grid(axis="x", visible=False)
    return Drawn(
        fig,
        "The eigenvectors used as encoding on CLUSTER",
        "For eigenvectors 2 to 11, the share of their variance over nodes that lies between communities",
        "CLUSTER has six communities, so that five eigenvectors after the first can tell them apart; the ten that the "
        f"paper uses include as many that hardly do. Means over {len(evidence.of(curve))} graphs with 90 % intervals.",
    )


def _lines(axis: Any, curves: Mapping[str, Curve]) -> None:
    styles = zip(
        (BLUE, GREEN, PURPLE, ORANGE, GREY, PAPER, "#E69F00", SKY),
        ("o", "s", "^", "D", "v", "x", "p", "P"),
        ("-", "--", "-.", "-", "--", ":", "-", "-."),
        strict=True,
    )
    for (label, (xs, means, spans)), (colour, marker, line) in zip(
        curves.items(), islice(styles, len(curves)), strict=True
    ):
        if xs:
            axis.fill_between(xs, *np.transpose(spans), color=colour, alpha=0.12, linewidth=0)
            axis.plot(xs, means, line, marker=marker, markersize=4, color=colour, label=label)


def _size(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    arms = {
        "GT sparse, LapPE": {},
        "the same, eigenvectors × √n": {"encoding_scale": "size_free"},
        "GT sparse, no PE": {"encoding": "none"},
        "GT full, LapPE": {"graph": "full", "batch": 10},
        "GCN, mean (as in Table 2)": {"model": "gcn", "encoding": "none"},
        "GCN, symmetric": {"model": "gcn_symmetric", "encoding": "none"},
        "GAT": {"model": "gat", "encoding": "none"},
        "degree threshold": {"model": "degree", "encoding": "none"},
    }
    networks = [name for name in arms if name != "degree threshold"]
    # One of them: the rule's error depends on the size of the graphs it starts from.
    for tier in ("full", "long", "quick"):
        curves = {
            label: mean_curve(evidence, arm(ledger, "size_transfer", change, tier=tier), "test_error")
            for label, change in arms.items()
        }
        if any(curves[name][0] for name in networks):
            break
    else:
        return None
    fig = new_figure(7.5, 3.8)
    axis = fig.subplots()
    _lines(axis, curves)
    axis.axhline(50, color=GREY, linestyle=":", linewidth=1)
    axis.set_xscale("log", base=2)
    axis.set_xticks([1, 2, 4, 8], ["1 (trained)", "2", "4", "8"])
    axis.set_xlabel("size of the graphs, in sizes trained on")
    axis.set_ylabel("test error [%]")
    axis.set_ylim(0, None)
    fig.legend(loc="outside right upper", fontsize=9)
    return Drawn(
        fig,
        "Error against size",
        "Class-balanced error on PATTERN against graph size for several models trained at size one",
        "100 minus the class-balanced accuracy; bands are 90 % intervals over seeds, each with graphs of its own; the "
        "dotted line is guessing. "
        "Larger graphs of the same probabilities are easier, as the degree threshold shows: a curve that does not "
        "fall with it has lost something. "
        + (
            "Short trainings of the quick tier, and the threshold on its smaller graphs; no claim is judged on those."
            if tier == "quick"
            else f"Trainings of the {tier} tier."
        ),
    )


def _matched(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    """Larger graphs as they are and thinned: errors, and what the eigenvectors are to a node's neighbours."""
    own = arm(ledger, "size_matched", {}, tier="long")
    if not evidence.of(own):
        return None
    fig = new_figure(8.5, 3.4)
    left, right = fig.subplots(1, 2)
    for axis, quantity, label in (
        (left, "error", "error [%]"),
        (right, "likeness", "1 - λ of the first eigenvector given"),
    ):
        curves = {
            name: mean_curve(evidence, own, f"{kind}_{quantity}")
            for name, kind in (("larger graphs as they are", "whole"), ("thinned", "matched"))
        }
        _lines(axis, curves)
        xs = next(iter(curves.values()))[0]
        axis.set_xscale("log")
        axis.set_xticks(xs, [f"{x:g}" for x in xs])
        axis.xaxis.minorticks_off()
        axis.set(xlabel="size of communities / that in training", ylabel=label)
        axis.set_ylim(bottom=0)
    left.axhline(50, color=GREY, linestyle=":", linewidth=1.2)
    left.text(1, 50.5, "guessing", fontsize=8, color=GREY)
    left.legend(loc="lower right")
    return Drawn(
        fig,
        "Size on PATTERN: nodes or eigenvalues",
        "Errors of a graph transformer, and 1 - λ of the eigenvectors it is given, on graphs up to eight times "
        "larger, as they are and thinned",
        "The sparse graph transformer with LapPE after the long tier's training at size 1. Thinned graphs have lost "
        "edges at random until 1 - λ is that of the training sizes; nodes are as many. Entries are multiplied by √n. "
        "Means over seeds with 90 % intervals.",
    )


def _smoothing(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    arms = {
        "graph transformer": {},
        "GCN, residual": {"model": "gcn"},
        "GCN, no residual": {"model": "gcn_plain"},
    }
    curves = {
        k: mean_curve(evidence, arm(ledger, "smoothing", c), "dirichlet_energy") for k, c in arms.items()
    }
    if not any(xs for xs, _, _ in curves.values()):
        return None
    fig = new_figure(6.5, 3.4)
    axis = fig.subplots()
    _lines(axis, curves)
    axis.set_yscale("log")
    axis.set_xlabel("layer")
    axis.set_ylabel("Dirichlet energy / squared norm")
    fig.legend(loc="outside right upper", fontsize=9)
    return Drawn(
        fig,
        "Smoothing with depth",
        "Dirichlet energy of the node states after each of 32 layers, three networks as initialised",
        "Networks as initialised, on eight CLUSTER graphs; bands are 90 % intervals over seeds.",
    )


def _cost(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    curve = arm(ledger, "cost", {})
    xs, means, spans = mean_curve(evidence, curve, "layer_seconds")
    if not xs:
        return None
    fig = new_figure(5.5, 3.2)
    axis = fig.subplots()
    axis.fill_between(xs, *np.maximum(np.transpose(spans), 1e-6), color=BLUE, alpha=0.2, linewidth=0)
    axis.plot(xs, means, "o-", color=BLUE, label="one layer, full attention")
    axis.plot(xs, means[-1] * (np.array(xs) / xs[-1]) ** 2, "--", color=GREY, label="N²")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(xs, [f"{x:g}" for x in xs])
    axis.set_xlabel("nodes N")
    axis.set_ylabel("forward and backward [s]")
    axis.legend(loc="upper left")
    return Drawn(
        fig,
        "Cost of full attention",
        "Seconds per forward and backward pass of one layer against the number of nodes",
        "One graph of N nodes, width 64, four heads; the dashed line is the square through the last point.",
    )
