"""What our seeds say, one by one: the distribution behind a verdict, drawn as SVG by a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

import numpy as np

from repro.claims import (
    Claim,
    CurveClaim,
    GeneralisationClaim,
    OrderingClaim,
    PropertyClaim,
    ScalingClaim,
    Tier,
)
from repro.curves import log_slopes
from repro.decisions import overlap_of
from repro.evidence import Evidence
from repro.generalisation import ratios
from repro.judge import Verdict
from repro.plan import claim_arms, comparisons, generalisation_arms
from repro.statistics import Estimate, mean_interval
from repro.words import number, printed, unit_of

WIDTH, LABELS, RIGHT, TOP, ROW, AXIS = 780, 250, 16, 26, 46, 40  # pixels of the drawing's own scale
DOT = 3.0  # radius of a seed
LETTER = 6.6  # width of a letter
RATIO_TICKS = 8  # at most, on a logarithmic axis


@dataclass(frozen=True)
class Distribution:
    """Values of every seed beside what the paper says.

    Attributes:
        rows: label to one value per seed; one row where the claim is about one mean.
        axis: what the values are, with unit.
        published: where the paper's number lies, and in words.
        band: the values that count as the same.
        estimate: of a single row, the mean and interval that the verdict rests on.
        logarithmic: whether the values are ratios.
        dropped: values that are not finite and so not drawn.
        overlap: as in :func:`repro.statistics.mean_interval`.
    """

    rows: dict[str, list[float]]
    axis: str
    published: float | None = None
    said: str = ""
    band: tuple[float, float] | None = None
    estimate: tuple[float, float, float] | None = None
    logarithmic: bool = False
    dropped: int = 0
    overlap: float = 0.0
    averaged: bool = True
    ours: bool = False

    def means(self) -> dict[str, tuple[float, float, float]]:
        """Return each row's mean and the ends of its 90 % interval; none where it is every run that counts."""
        if not self.averaged:
            return {}
        if self.estimate and len(self.rows) == 1:
            return dict.fromkeys(self.rows, self.estimate)
        return {label: self._mean(values) for label, values in self.rows.items() if values}

    def _mean(self, values: Sequence[float]) -> tuple[float, float, float]:
        e: Estimate = mean_interval(np.log(values) if self.logarithmic else values, overlap=self.overlap)
        ends = (e.value, e.low, e.high)
        return tuple(float(np.exp(x)) for x in ends) if self.logarithmic else ends  # type: ignore[return-value]


def distribution(evidence: Evidence, claim: Claim, verdict: Verdict) -> Distribution | None:
    """Return the seeds' values behind a verdict; None where it rests on no runs."""
    if verdict.tier is None:
        return None
    rows = _rows(evidence, claim, verdict.tier)
    logarithmic = isinstance(claim, GeneralisationClaim)
    kept = {
        label: [v for v in values if isfinite(v) and (v > 0 or not logarithmic)]
        for label, values in rows.items()
    }
    kept = {label: values for label, values in kept.items() if values}
    if not kept:
        return None
    band = None
    if verdict.published is not None and verdict.margin is not None:
        band = (verdict.published - verdict.margin, verdict.published + verdict.margin)
    elif isinstance(claim, PropertyClaim) and claim.at_most:
        negative = any(v < 0 for values in kept.values() for v in values)
        band = (-claim.at_most if negative else 0.0, claim.at_most)
    estimate = None
    if verdict.measured is not None and verdict.interval is not None:
        estimate = (verdict.measured, *verdict.interval)
    curve = isinstance(claim, CurveClaim)  # drawn are the points themselves, not their differences
    unit = (
        evidence.ledger.quantities[claim.measure.quantity].unit if curve else unit_of(claim, evidence.ledger)
    )
    what = {"scaling": "slope of", "ordering": "difference of", "generalisation": "size ratio of"}
    name = f"{what.get(claim.kind, '')} {claim.measure.quantity.replace('_', ' ')}".strip()
    return Distribution(
        kept,
        f"{name} [{unit}]" if unit not in ("", "1", "×") else name,
        _line(claim, verdict),
        f"at most {number(claim.at_most)}" if isinstance(claim, PropertyClaim) else printed(claim),
        band,
        estimate,
        logarithmic,
        sum(map(len, rows.values())) - sum(map(len, kept.values())),
        overlap_of(evidence.ledger, claim.measure.experiment),
        averaged=not isinstance(claim, PropertyClaim),
        ours=claim.anchor.evidence == "ours",
    )


def _line(claim: Claim, verdict: Verdict) -> float | None:
    if isinstance(claim, PropertyClaim):
        return claim.at_most
    return claim.at_least if isinstance(claim, OrderingClaim) else verdict.published


def _rows(evidence: Evidence, claim: Claim, tier: Tier) -> dict[str, list[float]]:
    ledger, quantity = evidence.ledger, claim.measure.quantity
    if isinstance(claim, OrderingClaim):
        rows = {}
        for name, (a, b) in comparisons(ledger, claim, tier).items():
            first, second = evidence.values(a, quantity), evidence.values(b, quantity)
            rows[name if claim.across or not name else f"over {name}"] = [
                first[s] - second[s] for s in sorted(set(first) & set(second))
            ]
        return rows
    if isinstance(claim, GeneralisationClaim):
        rows = {}
        for name, (own, same) in generalisation_arms(ledger, claim, tier).items():
            try:
                found = ratios(
                    evidence.by_index(own, quantity),
                    claim.trained,
                    claim.relative_to,
                    evidence.by_index(same, quantity) if same else {},
                )
            except ValueError:  # errors without a ratio; the verdict says so
                return {}
            # Of the arms that a break must survive in, the sizes that are tested.
            tested = max(claim.sizes, default=0.0) if name else 0.0
            of_arm = f", {name.replace('_', ' ')}" if name else ""
            rows |= {
                f"size {number(size)}{of_arm}": [float(np.exp(x)) for x in logs]
                for size, logs in found.items()
                if size >= tested
            }
        return rows
    arms = claim_arms(ledger, claim, tier)
    if isinstance(claim, ScalingClaim | CurveClaim):
        xs, curves = evidence.curve(arms[0], quantity)
        if isinstance(claim, ScalingClaim):
            kept = [i for i, x in enumerate(xs) if x >= (claim.smallest or 0)]
            values = [[c[i] for i in kept] for c in curves]
            positive = len(kept) > 1 and np.min(values) > 0
            return {"": list(log_slopes([xs[i] for i in kept], values))} if positive else {}
        index = (ledger.experiments[claim.measure.experiment].index or "").replace("_", " ")
        return {
            f"{index} {number(x)}{' (claimed)' if x in claim.peak else ''}": [c[i] for c in curves]
            for i, x in enumerate(xs)
        }
    return {"": [v for one in arms for trial in evidence.trials(one, quantity).values() for v in trial]}


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Return round numbers between two ends, at most ``most`` of them."""
    raw = (high - low) / (most - 1)
    unit = 10.0 ** floor(log10(raw))
    step = next(step * unit for step in (1, 2, 5, 10) if step * unit >= raw * (1 - 1e-9))
    return [round(k * step, 12) for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def ratio_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten between two ends; only the powers where these are too many."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    fine = [m * 10.0**k for k in decades for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    if len(fine) < 2:
        return ticks(low, high, RATIO_TICKS)
    return fine if len(fine) <= RATIO_TICKS else [t for t in fine if log10(t) % 1 < 1e-9]


def _spread(xs: Sequence[float], half: float) -> list[float]:
    """Return how far each dot moves off its row's middle so that dots at one place stay apart."""
    bins: dict[int, int] = {}
    ranks = []
    for x in xs:
        place = round(x / (2 * DOT))
        ranks.append(bins.get(place, 0))
        bins[place] = ranks[-1] + 1
    step = min(2 * DOT, half / max(1, ceil((max(bins.values()) - 1) / 2)))
    return [(-1) ** rank * ceil(rank / 2) * step for rank in ranks]


def drawing(found: Distribution) -> Mapping[str, object]:
    """Return the geometry that the template ``distribution.html`` draws."""
    means, log = found.means(), found.logarithmic

    def has_a_place(value: float) -> bool:
        """Whether the axis has it: an interval of one seed has no ends, and of ratios then reaches from 0."""
        return isfinite(value) and (value > 0 or not log)

    ends = [v for values in found.rows.values() for v in values]
    ends += [x for mean in means.values() for x in mean if has_a_place(x)]
    ends += [x for x in (found.published, *(found.band or ())) if x is not None]
    longest = max(map(len, found.rows))
    left = min(LABELS, RIGHT + LETTER * longest + 10) if longest else RIGHT
    low, high = (log10(min(ends)), log10(max(ends))) if log else (min(ends), max(ends))
    room = 0.04 * (high - low) or 0.5 * max(abs(low), 1.0) * (0.2 if log else 1)
    low, high = low - room, high + room

    def x(value: float) -> float:
        at = (log10(value) if log else value) - low
        return left + (WIDTH - left - RIGHT) * min(max(at / (high - low), 0.0), 1.0)

    row_height = ROW if len(found.rows) > 1 else 2 * ROW
    rows = []
    for k, (label, values) in enumerate(found.rows.items()):
        y = TOP + (k + 0.5) * row_height
        xs = [x(v) for v in values]
        offsets = _spread(xs, row_height / 2 - 2 * DOT)
        mean = means.get(label)
        rows.append(
            {
                "label": label,
                "y": y,
                # Thousands of equal values lie on one spot: it is drawn once.
                "dots": sorted({(round(a, 1), round(y + b, 1)) for a, b in zip(xs, offsets, strict=True)}),
                "mean": [x(v) if has_a_place(v) else None for v in mean] if mean else None,
            }
        )
    bottom = TOP + len(found.rows) * row_height
    places = ratio_ticks(10.0**low, 10.0**high) if log else ticks(low, high)
    return {
        "width": WIDTH,
        "height": bottom + AXIS,
        "left": left,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": bottom,
        "dot": DOT,
        "rows": rows,
        "ticks": [(x(place), number(place)) for place in places],
        "band": [x(v) for v in found.band] if found.band else None,
        "published": x(found.published) if found.published is not None else None,
        "found": found,
        "says": "allowed" if not found.averaged else "asked for" if found.ours else "claimed",
        "words": in_words(found, means),
    }


def in_words(found: Distribution, means: Mapping[str, tuple[float, float, float]]) -> str:
    """Return what the drawing shows, for who cannot see it."""
    said: Callable[[float], str] = number
    parts = [
        f"{label + ': ' if label else ''}{len(values)} values from {said(min(values))} to {said(max(values))}"
        + (f", mean {said(means[label][0])}" if label in means else "")
        for label, values in found.rows.items()
    ]
    if found.published is not None:
        parts.append(f"the claim's number is {said(found.published)}")
    if found.band:
        parts.append(f"the margin reaches from {said(found.band[0])} to {said(found.band[1])}")
    return "; ".join(parts) + "."
