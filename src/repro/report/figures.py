"""Figures that any paper can use: a table as a dot plot, deviations, curves along an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from matplotlib.ticker import FuncFormatter

from repro.claims import Scalar
from repro.decisions import overlap_of
from repro.deviations import effects
from repro.evidence import Evidence
from repro.judge import JUDGED_TIERS, Verdict
from repro.ledger import Ledger
from repro.plan import Arm, arm
from repro.report.drawing import COLOURS, GREY, MARKERS, PALE, PAPER, SOURCES, Drawn, new_figure
from repro.statistics import mean_interval
from repro.words import number, unit_of_difference

STRETCHED = 20.0  # from how many times the median on an effect is drawn on a logarithmic axis
Sources = Mapping[str, Evidence]
Verdicts = Mapping[str, Mapping[str, Verdict]]


def _label(name: str) -> str:
    return name.replace("_", " ")


def _with_unit(name: str, unit: str) -> str:
    return _label(name) if unit == "1" else f"{_label(name)} [{unit}]"


def table_dots(ledger: Ledger, verdicts: Verdicts, table_id: str, title: str, caption: str) -> Drawn:
    """Draw a table of value claims: one panel per column, one line per row of the table.

    Args:
        ledger: of the paper.
        verdicts: source (``reference``, ``yours``) to claim id to verdict.
        table_id: a table of the ledger.
        title, caption: of the figure.
    """
    table = next(t for t in ledger.tables if t.id == table_id)
    columns = list(table.columns)
    rows = list(table.published)
    unit = ledger.quantities[table.measure.quantity].unit
    fig = new_figure(3.3 * len(columns) + 1.2, 0.42 * len(rows) + 1.4)
    axes = fig.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    drawn = set()
    for axis, column in zip(axes, columns, strict=True):
        for y, row in enumerate(rows):
            if column not in table.published[row]:
                continue
            published, margin = table.published[row][column], table.margins[column].value
            axis.barh(y, 2 * margin, left=published - margin, height=0.55, color=PALE, zorder=1)
            axis.plot(published, y, "D", color=PAPER, markersize=5, markerfacecolor="none", zorder=3)
            for k, (source, found) in enumerate(verdicts.items()):
                verdict = found.get(f"{table_id}-{row}-{column}")
                if verdict is None or verdict.measured is None or verdict.interval is None:
                    continue
                drawn.add(source)
                colour, marker = SOURCES[source]
                at = y + (k - (len(verdicts) - 1) / 2) * 0.28
                sure = np.isfinite(verdict.interval).all()  # one run has no interval, and is drawn hollow
                axis.plot(verdict.interval, [at, at], color=colour, linewidth=2, zorder=4)
                face = {} if sure else {"markerfacecolor": "none"}
                axis.plot(verdict.measured, at, marker, color=colour, markersize=5, zorder=5, **face)
        axis.use_sticky_edges = False  # the margins' bars would end on the axis
        axis.set_title(_label(column), fontsize=10)
        axis.set_xlabel(_with_unit(table.measure.quantity, unit))
        axis.set_yticks(range(len(rows)), [_label(row) for row in rows])
        axis.grid(axis="y", visible=False)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    handles = [
        axes[0].plot([], [], "D", color=PAPER, markerfacecolor="none", label="published")[0],
        axes[0].barh([np.nan], [0], color=PALE, label="margin"),
        *(
            axes[0].plot([], [], marker + "-", color=colour, label=f"{source}, 90 % interval")[0]
            for source, (colour, marker) in SOURCES.items()
            if source in drawn
        ),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    alt = f"{title}: for each of {', '.join(columns)}, published and measured {table.measure.quantity} by row"
    return Drawn(fig, title, alt, caption)


def deviation_effects(evidence: Evidence, caption: str, experiment: str | None = None) -> Drawn | None:
    """Draw every deviation's measured effect with its 95 % interval; None where nothing was measured.

    Args:
        evidence: of the paper.
        caption: of the figure.
        experiment: only the deviations of one experiment; None for all.
    """
    deviations = evidence.ledger.deviations
    found = [
        e
        for e in effects(evidence)
        if e.estimate is not None and experiment in (None, deviations[e.deviation].measure.experiment)
    ]
    if not found:
        return None
    unit = evidence.ledger.quantities[found[0].quantity].unit
    places = list(dict.fromkeys(e.where for e in found))
    names = list(dict.fromkeys((e.deviation, e.alternative) for e in found))
    fig = new_figure(7.5, 0.42 * len(names) + 1.5)
    axis = fig.subplots()
    axis.axvline(0, color=GREY, linewidth=1)
    for y, name in enumerate(names):
        own = [e for e in found if (e.deviation, e.alternative) == name]
        for i, e in enumerate(own):
            if e.estimate:
                k = places.index(e.where) % len(COLOURS)
                at = y + (i - (len(own) - 1) / 2) * min(0.26, 0.8 / len(own))
                axis.plot([e.estimate.low, e.estimate.high], [at, at], color=COLOURS[k], linewidth=2)
                axis.plot(e.estimate.value, at, MARKERS[k], color=COLOURS[k], markersize=5)
    for k, place in enumerate(places):
        k %= len(COLOURS)
        axis.plot([], [], MARKERS[k] + "-", color=COLOURS[k], label=_label(place))
    ends = [abs(x) for e in found if e.estimate for x in (e.estimate.low, e.estimate.high)]
    linear = float(np.median(ends))
    if max(ends) > STRETCHED * linear > 0:  # or one large effect would press all others to the line
        axis.set_xscale("symlog", linthresh=linear)
        low, high = axis.get_xlim()
        steps = [m * 10.0**k for k in range(-6, 7) for m in (1, 3) if m * 10.0**k >= linear / 2]
        axis.set_xticks([x for x in (*(-s for s in reversed(steps)), 0, *steps) if low <= x <= high])
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: number(x)))
        caption += f" Beyond ±{number(float(f'{linear:.1g}'))} the axis is logarithmic."
    measured = {e.deviation: _label(e.quantity) for e in found}
    one = len(set(measured.values())) == 1
    labels = [f"{_label(a)}: {_label(b)}" + ("" if one else f" ({measured[a]})") for a, b in names]
    axis.set_yticks(range(len(names)), labels)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    what = f"mean {measured[found[0].deviation]}" if one else "the mean"
    axis.set_xlabel(_with_unit(f"change of {what}", unit_of_difference(unit)) + ", 95 % interval")
    if any(places):
        fig.legend(loc="outside lower center", ncols=len(places))
    alt = "Effect of each deviation from the protocol"
    if any(places):
        alt += ", by " + ", ".join(filter(None, places))
    return Drawn(fig, "What each deviation changes", alt, caption)


def recorded_arm(
    evidence: Evidence,
    experiment: str,
    setting: Mapping[str, Scalar],
    change: Mapping[str, Scalar] = MappingProxyType({}),
) -> Arm | None:
    """Return an experiment's arm at the highest judged tier that has records of it; None where none has.

    ``change`` wins over what a tier reduces, as a control's does.
    """
    for tier in JUDGED_TIERS:
        if tier in evidence.ledger.experiments[experiment].tiers:
            found = arm(evidence.ledger, experiment, setting, tier=tier, change=change)
            if evidence.of(found):
                return found
    return None


def training_in_words(
    evidence: Evidence,
    experiment: str,
    counts: Mapping[str, str],
    setting: Mapping[str, Scalar] = MappingProxyType({}),
) -> str:
    """Say how much of the full protocol an experiment's arm was trained with, for a caption; nothing without records.

    Args:
        evidence: of the paper.
        experiment: whose arm at the highest tier that has records is meant.
        counts: setting to what its number counts: ``{"steps": "updates"}``.
        setting: of the arm, where it is not the default one.
    """
    found, protocol = (
        recorded_arm(evidence, experiment, setting),
        evidence.ledger.experiments[experiment].setting,
    )
    if found is None:
        return ""
    if found.setting == {**protocol, **setting}:
        return "Trained in full."
    told = [
        f"{found.setting[key]:,} {what} (full tier: {protocol[key]:,})"
        for key, what in counts.items()
        if found.setting[key] != protocol[key]
    ]
    return f"Reduced training: {', '.join(told) or 'see the ledger'}."


def mean_curve(
    evidence: Evidence, arm: Arm, quantity: str
) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """Return index values, means over seeds and 90 % intervals of an arm's curve; empty without records.

    Where a run has no number there, mean and interval are none either: a gap, as no run is left out in silence.
    """
    if not evidence.of(arm):
        return [], [], []
    xs, curves = evidence.curve(arm, quantity)
    overlap, means, intervals = overlap_of(evidence.ledger, arm.experiment), [], []
    for i in range(len(xs)):
        values = [curve[i] for curve in curves]
        e = mean_interval(values, overlap=overlap) if np.isfinite(values).all() else None
        means.append(e.value if e else np.nan)
        intervals.append((e.low, e.high) if e and np.isfinite(e.low) else (np.nan, np.nan))
    return xs, means, intervals


def available(arms: Sequence[Arm], sources: Sources) -> bool:
    """Whether any source has records of any of the arms."""
    return any(evidence.of(arm) for evidence in sources.values() for arm in arms)
