"""The size-generalisation figure that every paper with such claims has: error against size, in and out of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.judge import JUDGED_TIERS, Evidence
from repro.ledger import GeneralisationClaim, Ledger, Tier
from repro.plan import Arm, generalisation_arms
from repro.report.drawing import BLUE, GREEN, GREY, ORANGE, Drawn, new_figure
from repro.words import number

COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = "os^Dvp"
COLUMNS = 2
MOST_TICKS = 9  # more sizes than this are labelled by powers of ten

Curves = dict[str, Arm]


def _panels(ledger: Ledger, evidence: Evidence) -> list[tuple[GeneralisationClaim, Curves]]:
    """Return the distinct things that the claims measure, each with its arms that have records."""
    panels: dict[tuple[str, Arm], tuple[GeneralisationClaim, Curves]] = {}
    for claim in ledger.all_claims():
        if not isinstance(claim, GeneralisationClaim):
            continue
        for tier in (None, *JUDGED_TIERS):
            curves = _curves(ledger, evidence, claim, tier)
            if curves:
                own = generalisation_arms(ledger, claim, tier)[""][0]
                kept = panels.setdefault((claim.measure.quantity, own), (claim, {}))
                kept[1].update({name: arm for name, arm in curves.items() if arm not in kept[1].values()})
                break
    return list(panels.values())


def _curves(ledger: Ledger, evidence: Evidence, claim: GeneralisationClaim, tier: Tier | None) -> Curves:
    if tier and tier not in ledger.experiments[claim.measure.experiment].tiers:
        return {}
    curves: Curves = {}
    for name, (own, same) in generalisation_arms(ledger, claim, tier).items():
        curves[name or "transfer"] = own
        if same:
            curves[f"{name}, trained at each size" if name else "trained at each size"] = same
    return {name: arm for name, arm in curves.items() if evidence.of(arm)}


def size_figure(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    """Draw error against size for what a paper's generalisation claims measure; None where nothing was run."""
    panels = _panels(ledger, evidence)
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    fig = new_figure(4.6 * columns, 3.5 * rows + 0.3)
    axes = fig.subplots(rows, columns, squeeze=False)
    for axis, (claim, curves) in zip(axes.flat, panels, strict=False):
        axis.axvspan(min(claim.trained), max(claim.trained), color="#e3e3e3", zorder=0)
        for k, (name, arm) in enumerate(curves.items()):
            found = evidence.by_index(arm, claim.measure.quantity)
            _curve(
                axis,
                found,
                COLOURS[k % len(COLOURS)],
                MARKERS[k % len(MARKERS)],
                f"{name} (n = {len(found)})",
            )
        if claim.relative_to == "nothing":
            axis.axhline(claim.limit, color=GREY, linestyle="--", linewidth=1)
        sizes = sorted({s for arm in curves.values() for s in evidence.curve(arm, claim.measure.quantity)[0]})
        if sizes and len(sizes) <= MOST_TICKS:
            axis.set_xticks(sizes, [number(s) for s in sizes])
            axis.minorticks_off()
        unit = ledger.quantities[claim.measure.quantity].unit
        name = claim.measure.quantity.replace("_", " ")
        axis.set_xlabel((ledger.experiments[claim.measure.experiment].index or "size").replace("_", " "))
        axis.set_ylabel(name if unit == "1" else f"{name} [{unit}]")
        axis.legend(fontsize=8)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    quantities = dict.fromkeys(c.measure.quantity.replace("_", " ") for c, _ in panels)
    return Drawn(
        fig,
        f"Generalisation in size: {ledger.paper.title}",
        f"{', '.join(quantities)} against system size, for each arm of the paper's generalisation claims",
        "Median over seeds on logarithmic axes, bands from the smallest to the largest seed. Grey: the range of the "
        "training sizes. Dashed, where the error itself is judged: its limit.",
    )


def _curve(axis, found, colour: str, marker: str, label: str) -> None:  # type: ignore[no-untyped-def]
    sizes = sorted({size for curve in found.values() for size in curve})
    columns: list[Sequence[float]] = [[c[s] for c in found.values() if c.get(s, 0) > 0] for s in sizes]
    kept = [(s, c) for s, c in zip(sizes, columns, strict=True) if c]
    if not kept:
        return
    xs = [s for s, _ in kept]
    axis.fill_between(
        xs, [min(c) for _, c in kept], [max(c) for _, c in kept], color=colour, alpha=0.15, linewidth=0
    )
    axis.plot(
        xs, [float(np.median(c)) for _, c in kept], marker + "-", color=colour, markersize=4, label=label
    )
    axis.set(xscale="log", yscale="log")
