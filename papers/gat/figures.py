"""This paper's figures, drawn from records: Table 2, the runs behind it, DictionaryLookup, attention, random edges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import seaborn

from repro.evidence import Evidence, main_source
from repro.plan import arm
from repro.report.drawing import BLUE, GREEN, GREY, ORANGE, PALE, PAPER, Drawn, new_figure
from repro.report.figures import (
    Sources,
    Verdicts,
    deviation_effects,
    mean_curve,
    recorded_arm,
    table_dots,
)
from repro.statistics import mean_interval

DATASETS = ("cora", "citeseer", "pubmed")

# Read off a picture of one run in the authors' repository, to about one point: an earlier version of GATv2's Figure 3,
# where overlapping markers of training and test were told apart by eye. Not values to be tested.
DIGITISED_K = tuple(range(4, 21))
DIGITISED: dict[tuple[str, int, str], tuple[int, ...]] = {
    ("gat", 8, "train_accuracy"): (100,) * 17,
    ("gat", 8, "test_accuracy"): (29, 30, 48, 75, 85, 67, 87, 68, 53, 65, 50, 59, 53, 66, 42, 52, 43),
    ("gat", 1, "train_accuracy"): (85, 83, 67, 63, 34, 29, 27, 21, 22, 22, 18, 22, 16, 17, 16, 15, 11),
    ("gat", 1, "test_accuracy"): (45, 49, 43, 41, 32, 26, 20, 18, 17, 21, 17, 16, 13, 14, 15, 13, 11),
}


def figures(sources: Sources, verdicts: Verdicts) -> Iterator[Drawn]:
    """Yield the figures that the records allow."""
    ledger = next(iter(sources.values())).ledger
    evidence = sources[main_source(sources)]
    yield table_dots(
        ledger,
        verdicts,
        "GAT-T2",
        "Table 2: GAT on the citation networks",
        "The paper prints mean and standard deviation of 100 runs. Diamonds are the printed means, grey bars "
        "the margin of the ledger; the claim is reproduced where our interval lies within the bar, and "
        "contradicted where it lies outside also when allowance is made for three cells being asked at once.",
    )
    yield table_dots(
        ledger,
        verdicts,
        "GAT-T2-64",
        "Table 2: GCN with 64 hidden features",
        "The baseline that the paper ran itself, as GCN-64*; how it was trained is not said, so it is trained here as "
        "its own paper does.",
    )
    yield from _runs(evidence)
    yield from _dictionary(evidence)
    yield from _attention(evidence)
    yield from _noise(evidence)
    for experiment, caption in (
        (
            "transductive",
            "Difference of mean test accuracy over the same seeds between the alternative and our protocol. The "
            "alternatives under `stopping` and `weights` read the same trainings at another epoch.",
        ),
        (
            "dictionary",
            "Difference of the mean over the same seeds; the legend gives k, the number of keys.",
        ),
    ):
        drawn = deviation_effects(evidence, caption, experiment)
        if drawn:
            yield drawn


def _runs(evidence: Evidence) -> Iterator[Drawn]:
    """Each run of GAT beside the printed mean and standard deviation."""
    claims = {c.id: c for c in evidence.ledger.all_claims()}
    fig = new_figure(10, 3.2)
    axes = fig.subplots(1, 3)
    drawn = False
    for axis, name in zip(axes, DATASETS, strict=True):
        claim = claims[f"GAT-T2-GAT-{name}"]
        assert claim.kind == "value"
        printed = claim.published
        own = arm(evidence.ledger, "transductive", claim.measure.setting)
        values = list(evidence.values(own, "test_accuracy").values())
        low, high = printed.value - (printed.dispersion or 0), printed.value + (printed.dispersion or 0)
        axis.axvspan(low, high, color=PALE, label="printed mean ± sd")
        axis.axvline(printed.value, color=PAPER, linewidth=1.5, label="printed mean")
        if values:
            drawn = True
            # Accuracy comes in tenths.
            steps = np.arange(np.floor(min(values)) - 0.05, max(values) + 0.3, 0.2)
            axis.hist(values, bins=steps, color=BLUE, alpha=0.85, label=f"our {len(values)} runs")
            axis.axvline(np.mean(values), color=ORANGE, linestyle="--", linewidth=1.5, label="our mean")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("test accuracy [%]")
    axes[0].set_ylabel("runs")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    if drawn:
        yield Drawn(
            fig,
            "The runs behind Table 2",
            "Histograms of the test accuracy of our runs of GAT on Cora, Citeseer and Pubmed, with the "
            "printed mean and standard deviation",
            "The paper prints no distribution. The grey band is its mean plus and minus one standard "
            "deviation of single runs, so our runs should mostly fall within a few widths of it; the mean "
            "itself is known ten times better.",
        )


def _dictionary(evidence: Evidence) -> Iterator[Drawn]:
    """Accuracy over k, beside what was read off the paper's figure."""
    models = (
        ("gatv2", 1, "GATv2, 1 head", GREEN),
        ("gat", 8, "GAT, 8 heads", BLUE),
        ("gat", 1, "GAT, 1 head", ORANGE),
    )
    fig = new_figure(10, 4.2)
    axes = fig.subplots(1, 2, sharey=True)
    drawn = False
    for axis, quantity, title in zip(
        axes,
        ("train_accuracy", "test_accuracy"),
        ("training graphs", "graphs with unseen pairs"),
        strict=True,
    ):
        for model, heads, label, colour in models:
            ks, means, lows, highs, counts = [], [], [], [], []
            for k in DIGITISED_K:
                own = arm(evidence.ledger, "dictionary", {"model": model, "heads": heads, "k": k})
                values = list(evidence.values(own, quantity).values())
                if values:
                    span = mean_interval(values) if len(values) > 1 else None
                    ks.append(k)
                    counts.append(len(values))
                    means.append(float(np.mean(values)))
                    lows.append(max(0.0, span.low) if span else means[-1])
                    highs.append(min(100.0, span.high) if span else means[-1])
            if ks:
                drawn = True
                error = [np.subtract(means, lows), np.subtract(highs, means)]
                seeds = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(min(counts))
                axis.errorbar(
                    ks,
                    means,
                    error,
                    marker="o",
                    markersize=4,
                    color=colour,
                    capsize=2,
                    label=f"{label} ({seeds} seeds)",
                )
            if (model, heads, quantity) in DIGITISED:
                axis.plot(DIGITISED_K, DIGITISED[model, heads, quantity], ":", color=colour, linewidth=1.5)
        axis.plot([], [], ":", color=GREY, label="read off an earlier figure (one run)")
        axis.plot(
            DIGITISED_K, [100 / k for k in DIGITISED_K], color=GREY, linewidth=0.8, label="chance, 1 / k"
        )
        axis.set(xlabel="k, keys in a graph", title=title, ylim=(0, 104))
    axes[0].set_ylabel("queries answered rightly [%]")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    if drawn:
        yield Drawn(
            fig,
            "DictionaryLookup (GATv2, Figure 3)",
            "Training and test accuracy on DictionaryLookup against the number of keys for GATv2 with one head and GAT "
            "with one and eight, with what was read off an earlier version of the paper's figure",
            "Means over our seeds with 90 % intervals. Dotted: the authors' curves, read to about a point off "
            "an earlier version of their figure (the printed one has no training curve of eight heads); each is a "
            "single run chosen at its best test accuracy, and so are ours, seed by seed.",
        )


def _attention(evidence: Evidence) -> Iterator[Drawn]:
    """Who attends to whom in one DictionaryLookup graph, for one trained network of each kind."""
    arms = {model: recorded_arm(evidence, "attention_map", {"model": model}) for model in ("gat", "gatv2")}
    found = {model: evidence.of(own)[0] for model, own in arms.items() if own}
    if len(found) < 2:
        return
    full = all(own == arm(evidence.ledger, "attention_map", {"model": model}) for model, own in arms.items())
    fig = new_figure(9, 4.2)
    axes = fig.subplots(1, 2)
    most = max(row["attention"] for record in found.values() for row in record.rows)
    for axis, (model, record) in zip(axes, found.items(), strict=True):
        k = int(record.setting["k"])
        matrix = np.zeros((k, k))
        for row in record.rows:
            matrix[divmod(int(row["pair"]), 100)] = row["attention"]
        ranks = (-matrix).argsort(1).argsort(1) + 1
        seaborn.heatmap(
            matrix,
            ax=axis,
            cmap="cividis",
            vmin=0,
            vmax=most,
            annot=ranks,
            annot_kws={"fontsize": 8},
            square=True,
            cbar_kws={"shrink": 0.8, "label": "attention α"},
        )
        axis.tick_params(axis="y", rotation=0)
        axis.set(xlabel="key", title={"gat": "GAT, 1 head", "gatv2": "GATv2, 1 head"}[model])
    axes[0].set_ylabel("query")
    yield Drawn(
        fig,
        "Static and dynamic attention (GATv2, Figure 1)",
        "Attention of ten queries to ten keys in one test graph of DictionaryLookup, for one trained GAT and "
        "one trained GATv2, with each query's ranking of the keys",
        "Colour is the attention coefficient, the number a key's rank for that query. In GAT every row ranks the keys "
        "alike; in GATv2 each query has its own ranking. GAT has self-loops: what a row lacks to 1 a query gives to "
        "itself. Seed 0 of the records, "
        + ("trained to the end." if full else "trained for twenty passes only."),
    )


def _noise(evidence: Evidence) -> Iterator[Drawn]:
    """Test accuracy against the share of random edges."""
    settings = {
        c.measure.setting["dataset"]: c.measure.setting
        for c in evidence.ledger.claims
        if c.id.startswith("GATv2-noise")
    }
    arms = {
        (name, model): arm(evidence.ledger, "noise", setting, {"model": model})
        for name, setting in settings.items()
        for model in ("gat", "gatv2")
    }
    names = [name for name in settings if evidence.of(arms[name, "gat"]) and evidence.of(arms[name, "gatv2"])]
    if not names:
        return
    fig = new_figure(3.4 * len(names) + 0.6, 3.6)
    for axis, name in zip(fig.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for model, label, colour, marker in (("gat", "GAT", BLUE, "o"), ("gatv2", "GATv2", ORANGE, "s")):
            xs, means, spans = mean_curve(evidence, arms[name, model], "test_accuracy")
            axis.fill_between(xs, *np.transpose(spans), color=colour, alpha=0.2, linewidth=0)
            axis.plot(xs, means, marker + "-", markersize=4, color=colour, label=label)
        axis.set(xlabel="random edges added, share of edges", title=f"{name}", ylabel="test accuracy [%]")
        axis.legend()
    yield Drawn(
        fig,
        "Random edges (the question of GATv2's Figure 4)",
        "Test accuracy of GAT and GATv2 against the share of random edges added to "
        + ", ".join(map(str, names)),
        "Means and 90 % intervals; each seed draws its own edges and both models see the same. The paper's "
        "figure shows two sets of the Open Graph Benchmark, where both curves fall by some six points and "
        "GATv2's stays on top.",
    )
