"""The size-generalisation figure that every paper with such claims has: error against size, in and out of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log10
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator

from repro.claims import GeneralisationClaim, Tier
from repro.evidence import Evidence
from repro.generalisation import OWN, Errors
from repro.judge import JUDGED_TIERS, choose_tier
from repro.ledger import Ledger
from repro.plan import Arm, generalisation_arms, spelled
from repro.report.drawing import COLOURS, GREY, MARKERS, PALE, Drawn, new_figure
from repro.words import number

COLUMNS = 2
MOST_TICKS = 12  # labels that fit side by side


@dataclass(frozen=True)
class Curve:
    """One arm: how it is called, whether its models were trained at each size, and whether the legend names it.

    Models trained at each size have the colour of the arm that they are the reference of, and one entry for all. Of two
    such references of one arm the second has an entry of its own, with what differs between them.
    """

    arm: Arm
    name: str
    same_size: bool
    named: bool


@dataclass(frozen=True)
class Panel:
    """What a claim measures, with the curves of all claims that measure it, and the tier of its runs."""

    claim: GeneralisationClaim
    curves: list[Curve]
    tier: Tier


def _panels(ledger: Ledger, evidence: Evidence) -> list[Panel]:
    """Return the distinct things that the claims measure, each with its arms that have records."""
    panels: dict[tuple[str, Arm], Panel] = {}
    for claim in ledger.all_claims():
        if not isinstance(claim, GeneralisationClaim):
            continue
        judged = choose_tier(evidence, claim)  # the figure shows what the verdict rests on
        for tier in (judged,) if judged else JUDGED_TIERS:
            curves = _curves(ledger, evidence, claim, tier)
            if curves:
                own = generalisation_arms(ledger, claim, tier)[""][0]
                panel = panels.setdefault((claim.measure.quantity, own), Panel(claim, [], tier))
                for curve in curves:
                    _add(panel.curves, curve)
                break
    return list(panels.values())


def _add(curves: list[Curve], new: Curve) -> None:
    if new.arm in [known.arm for known in curves]:
        return
    like = next((c for c in curves if c.same_size and new.same_size and c.name == new.name), None)
    if like:
        other = {k: v for k, v in new.arm.setting.items() if v != like.arm.setting.get(k)}
        new = Curve(new.arm, f"trained at each size, {spelled(other).replace('_', ' ')}", True, True)
    curves.append(new)


def _curves(ledger: Ledger, evidence: Evidence, claim: GeneralisationClaim, tier: Tier) -> list[Curve]:
    if tier not in ledger.experiments[claim.measure.experiment].tiers:
        return []
    curves = []
    for name, (own, same) in generalisation_arms(ledger, claim, tier).items():
        called = name.replace("_", " ") or OWN
        curves += [Curve(own, called, False, True), *([Curve(same, called, True, False)] if same else [])]
    return [curve for curve in curves if evidence.of(curve.arm)]


def ticks(sizes: Sequence[float]) -> list[float]:
    """Return those of ascending sizes whose labels have room on a logarithmic axis, the largest among them."""
    room = log(sizes[-1] / sizes[0]) / MOST_TICKS
    shown = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if log(shown[-1] / size) >= room:
            shown.append(size)
    return shown[::-1]


def _title(ledger: Ledger, panel: Panel) -> str:
    measure = panel.claim.measure
    what = ledger.experiments[measure.experiment].meaning.partition(" (")[0]
    parts = [spelled(measure.setting).replace("_", " "), f"{panel.tier} tier"]
    return fill(f"{what}: {', '.join(filter(None, parts))}", 60)


def _places(panels: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return each arm's place among the colours: one in all panels, and no two of a panel the same."""
    places: dict[str, int] = {}
    for name in dict.fromkeys(name for panel in panels for name in panel):
        taken = {places.get(other) for panel in panels if name in panel for other in panel}
        places[name] = next(k for k in range(len(taken) + 1) if k not in taken)
    return places


def _plain_numbers(axis: Axes) -> None:
    """Label a logarithmic y axis with numbers as they are, also between powers of ten where these are few."""
    low, high = axis.get_ylim()
    few = log10(high / low) < 2
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: number(y)))
    axis.yaxis.set_minor_locator(LogLocator(subs=(2, 5) if few else ()))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: number(y) if few else ""))


def size_figure(ledger: Ledger, evidence: Evidence) -> Drawn | None:
    """Draw error against size for what a paper's generalisation claims measure; None where nothing was run."""
    panels = _panels(ledger, evidence)
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    fig = new_figure(4.6 * columns, 4.2 * rows)
    axes = fig.subplots(rows, columns, squeeze=False)
    places = _places([[curve.name for curve in panel.curves] for panel in panels])
    for axis, panel in zip(axes.flat, panels, strict=False):
        claim, quantity = panel.claim, panel.claim.measure.quantity
        first, last = min(claim.trained), max(claim.trained)
        axis.axvspan(first, last, color=PALE, zorder=0, linewidth=4 if first == last else 0)
        for curve in panel.curves:
            k = places[curve.name] % len(COLOURS)
            found = evidence.by_index(curve.arm, quantity)
            label = f"{curve.name} ({len(found)} seeds)" if curve.named else None
            _curve(axis, found, COLOURS[k], MARKERS[k] + ("--" if curve.same_size else "-"), label)
        if any(curve.same_size for curve in panel.curves):
            axis.plot([], [], "--", color=GREY, label="trained at each size")
        if claim.relative_to == "nothing":
            axis.axhline(claim.limit, color=GREY, linestyle=":", linewidth=1.5, label="limit")
        sizes = sorted({s for curve in panel.curves for s in evidence.curve(curve.arm, quantity)[0]})
        if sizes:
            _plain_numbers(axis)
            shown = ticks(sizes)
            axis.set_xticks(shown, [number(s) for s in shown])
            axis.xaxis.minorticks_off()
        unit, name = ledger.quantities[quantity].unit, quantity.replace("_", " ")
        axis.set_title(_title(ledger, panel), fontsize=9)
        axis.set_xlabel((ledger.experiments[claim.measure.experiment].index or "size").replace("_", " "))
        axis.set_ylabel(name if unit == "1" else f"{name} [{unit}]")
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    caption = ["Median over seeds on logarithmic axes, bands from the smallest to the largest seed."]
    caption.append("Grey: the range of the training sizes.")
    if any(curve.same_size for panel in panels for curve in panel.curves):
        caption.append("Dashed, in the colour of its arm: models trained at each size.")
    if any(panel.claim.relative_to == "nothing" for panel in panels):
        caption.append("Dotted: the limit, where the error itself is judged.")
    quantities = dict.fromkeys(panel.claim.measure.quantity.replace("_", " ") for panel in panels)
    return Drawn(
        fig,
        f"Generalisation in size: {ledger.paper.title}",
        f"{', '.join(quantities)} against system size, for each arm of the paper's generalisation claims",
        " ".join(caption),
    )


def _curve(axis: Axes, found: Errors, colour: str, style: str, label: str | None) -> None:
    sizes = sorted({size for curve in found.values() for size in curve})
    columns = {size: [curve[size] for curve in found.values() if curve.get(size, 0) > 0] for size in sizes}
    xs = [size for size in sizes if columns[size]]
    if not xs:
        return
    low, high = [min(columns[x]) for x in xs], [max(columns[x]) for x in xs]
    # Of models trained at each size the band is hatched: it has the colour of another one.
    hatched: dict[str, Any] = (
        {"hatch": "////", "facecolor": "none", "alpha": 0.3} if "--" in style else {"alpha": 0.15}
    )
    axis.fill_between(xs, low, high, **{"color": colour, **hatched}, linewidth=0)
    axis.plot(xs, [float(np.median(columns[x])) for x in xs], style, color=colour, markersize=4, label=label)
    axis.set(xscale="log", yscale="log")
