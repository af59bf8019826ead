"""This paper's figures, drawn from records: Table 3, Figure 2, Appendix B, the deviations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from repro.evidence import main_source
from repro.plan import arm
from repro.report.drawing import BLUE, GREY, ORANGE, SOURCES, Drawn, new_figure
from repro.report.figures import Sources, Verdicts, available, deviation_effects, mean_curve, table_dots

DATASETS = ("cora", "citeseer", "pubmed")


def figures(sources: Sources, verdicts: Verdicts) -> Iterator[Drawn]:
    """Yield the figures that the records allow."""
    ledger = next(iter(sources.values())).ledger
    yield table_dots(
        ledger,
        verdicts,
        "GCN-T3",
        "Table 3: propagation models",
        "The paper prints these values as a table. Diamonds are the published means of 100 runs, grey bars the margin "
        "of the ledger; a claim is reproduced where our interval lies within the bar, unless the correction for the "
        "many cells of the table leaves it open.",
    )
    yield from _figure_2(sources)
    yield from _appendix_b(sources)
    drawn = deviation_effects(
        sources[main_source(sources)],
        "Difference of the mean over the same seeds between the alternative and our protocol, which is the paper's "
        "where it says and the released code's where it does not. Cora lists no self-loops: there the effect must "
        "be exactly zero.",
    )
    if drawn:
        yield drawn


def _figure_2(sources: Sources) -> Iterator[Drawn]:
    ledger = next(iter(sources.values())).ledger
    curve = arm(ledger, "epoch_time", {})
    if not available([curve], sources):
        return
    fig = new_figure(6.5, 4.2)
    axis = fig.subplots()
    for source, evidence in sources.items():
        xs, means, intervals = mean_curve(evidence, curve, "epoch_seconds")
        if not xs:
            continue
        colour, marker = SOURCES[source]
        axis.fill_between(
            xs, *np.maximum(np.transpose(intervals), 1e-6), color=colour, alpha=0.25, linewidth=0
        )
        # The larger and empty mark can be seen around the other where both lie on one spot.
        mark = {"markersize": 10, "markerfacecolor": "none"} if source == "reference" else {}
        axis.plot(xs, means, marker + "-", color=colour, label=f"{source}, mean and 90 % interval", **mark)
        axis.plot(xs, means[-1] * np.array(xs) / xs[-1], "--", color=GREY, linewidth=1)
    axis.plot([], [], "--", color=GREY, linewidth=1, label="slope 1 through the largest graph")
    axis.set(xscale="log", yscale="log", xlabel="edges", ylabel="time per epoch [s]")
    axis.legend()
    yield Drawn(
        fig,
        "Figure 2: time per epoch",
        "Wall time per epoch against the number of edges on logarithmic axes, with a line of slope one",
        "The paper's figure shows seconds per epoch on a GPU and a CPU of 2016 against the number of edges, on "
        "logarithmic axes, without printed values. Only the slope is judged, on graphs of at least 30,000 edges.",
    )


def _appendix_b(sources: Sources) -> Iterator[Drawn]:
    ledger = next(iter(sources.values())).ledger
    arms = {
        (name, residual): arm(ledger, "depth", {"dataset": name, "residual": residual})
        for name in DATASETS
        for residual in (False, True)
    }
    source = "reference" if available(list(arms.values()), {"r": sources["reference"]}) else "yours"
    if source not in sources or not available(list(arms.values()), {source: sources[source]}):
        return
    fig = new_figure(10, 3.9)
    axes = fig.subplots(1, 3, sharey=True)
    folds: dict[str, int] = {}
    for axis, name in zip(axes, DATASETS, strict=True):
        for residual, colour in ((False, BLUE), (True, ORANGE)):
            for quantity, line, marker in (("train_accuracy", "--", "^"), ("test_accuracy", "-", "o")):
                xs, means, spans = mean_curve(sources[source], arms[name, residual], quantity)
                if xs:
                    axis.fill_between(xs, *np.transpose(spans), color=colour, alpha=0.15, linewidth=0)
                    axis.plot(xs, means, line, marker=marker, markersize=4, color=colour)
                    runs = len(sources[source].of(arms[name, residual]))
                    folds[name] = min(runs, folds.get(name, runs))
        axis.set_title(f"{name} ({folds.get(name, 0)} folds)", fontsize=10)
        axis.set_xlabel("layers")
        axis.set_xticks(range(1, 11))
    axes[0].set_ylabel("accuracy [%]")
    axes[0].set_ylim(0, 102)
    handles = [
        axes[0].plot([], [], line, marker=marker, color=colour, label=f"{part}, {kind}")[0]
        for kind, colour in (("plain", BLUE), ("residual", ORANGE))
        for part, line, marker in (("training", "--", "^"), ("test", "-", "o"))
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=4)
    yield Drawn(
        fig,
        "Appendix B: depth",
        "Training and test accuracy against one to ten layers, plain and residual, on Cora, Citeseer and Pubmed",
        "The paper's Figure 5 shows the same curves with standard errors and no printed values; bands here are 90 % "
        f"intervals over the folds of cross-validation with all labels ({source} records).",
    )
