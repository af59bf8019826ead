"""Whether an error that grows with size does so from one size on, or gradually: a knee, a line, or a smooth curve.

A word beside a verdict; no outcome hangs on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log

import numpy as np
from numpy.typing import NDArray

KNEE = 6.0  # difference of BIC from which a knee is more than a line
KNEE_SEEDS = 0.8  # share of seeds on which it must be
KNEE_SIZES = 6  # fewer sizes cannot tell a knee (4 parameters) from a line (2)


@dataclass(frozen=True)
class Knee:
    """How many seeds' errors bend at one size rather than follow one power of size, or a smooth curve.

    Attributes:
        at: median size of the knee over the seeds where it beats the line.
        seeds, sharp, of: seeds where the knee beats the line by more than ``KNEE`` in BIC; where it beats a parabola
            and a cubic by as much besides; of how many.
        trained: the largest training size.
        untold: why it cannot be said, with ``of`` 0.
    """

    at: float | None
    seeds: int
    sharp: int
    of: int
    trained: float = 0.0
    untold: str = ""

    @property
    def is_point(self) -> bool:
        """Whether enough seeds bend, and sharply enough, for it to be called a point."""
        return self.of > 0 and self.sharp >= KNEE_SEEDS * self.of

    @property
    def words(self) -> str:
        """Say which, for a reader."""
        if self.of == 0:
            return self.untold
        bends = self.seeds >= KNEE_SEEDS * self.of
        how = (
            "a point"
            if self.is_point
            else "a bend, no sharper than a smooth curve's"
            if bends
            else "gradual, not a point"
        )
        found = (
            f"a knee beats a line by ΔBIC > {KNEE:g} on {self.seeds} of {self.of} seeds, a parabola and a cubic as "
            f"well on {self.sharp}"
        )
        if not bends or self.at is None:
            return f"{how}: {found}"
        inside = ", within the training sizes" if self.at <= self.trained else ""
        return f"{how}: {found}, near size {self.at:.3g}{inside}"


def knee(errors: Mapping[int, Mapping[float, float]], trained: Sequence[float]) -> Knee:
    """Compare log error = line in log size with a line of one knee, a parabola and a cubic, seed by seed.

    BIC = n ln(RSS / n) + p ln n with p = 2 for the line, 3 for the parabola, 4 for the cubic and for the knee, whose
    place is one of the inner sizes.

    Args:
        errors: seed to size to error.
        trained: the training sizes.
    """
    sizes = sorted(set.intersection(*(set(curve) for curve in errors.values()))) if errors else []
    if len(sizes) < KNEE_SIZES:
        return Knee(
            None, 0, 0, 0, untold=f"fewer than {KNEE_SIZES} sizes cannot tell a point from a gradual loss"
        )
    if not all(0 < curve[s] < inf for curve in errors.values() for s in sizes):
        return Knee(
            None,
            0,
            0,
            0,
            untold="zero or without bound somewhere, so that no curve is fitted to its logarithm",
        )
    x, n = np.log(sizes), len(sizes)

    def bic(design: NDArray[np.float64], y: NDArray[np.float64], parameters: int) -> float:
        rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        # Below rounding, a fit is exact; without a floor an exact line would lose to an exact knee by chance.
        return n * log(max(float(rest @ rest) / n, 1e-12)) + parameters * log(n)

    places, sharp = [], 0
    line = np.stack([np.ones(n), x], axis=1)
    parabola = np.column_stack([line, x**2])
    cubic = np.column_stack([parabola, x**3])
    for curve in errors.values():
        y = np.log([curve[s] for s in sizes])
        bends = {
            sizes[i]: bic(np.column_stack([line, np.maximum(x - x[i], 0)]), y, 4) for i in range(1, n - 1)
        }
        best = min(bends, key=lambda s: bends[s])
        if bic(line, y, 2) - bends[best] > KNEE:
            places.append(best)
            sharp += min(bic(parabola, y, 3), bic(cubic, y, 4)) - bends[best] > KNEE
    at = float(np.median(places)) if places else None
    return Knee(at, len(places), sharp, len(errors), max(trained))
