"""Two ways to the same result, timed in turns: what every benchmark here is made of."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch


class DisagreementError(Exception):
    """The two sides do not compute the same thing, so the ratio of their times would say nothing."""


@dataclass(frozen=True)
class Work:
    """One side of a comparison.

    Attributes:
        run: does the work.
        units: how much of it ``run`` does (seeds times epochs, say): a slow peer is given less of the same
            work, and the cost per unit is compared.
        warm_up: a shorter run that loads and initialises what ``run`` needs; None takes ``run`` itself.
    """

    run: Callable[[], object]
    units: float = 1.0
    warm_up: Callable[[], object] | None = None


@dataclass(frozen=True)
class Comparison:
    """One ratio per pair of runs; above 1 we are the cheaper side, unless the name says otherwise."""

    name: str
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median over the pairs, which one disturbed pair does not move."""
        return median(self.ratios)

    def line(self) -> str:
        """Return ``name  median (min, max)``."""
        return f"{self.name}  {self.ratio:.3g} ({min(self.ratios):.3g}, {max(self.ratios):.3g})"

    def entry(self) -> dict[str, str | float]:
        """Return what ``results/bench.json`` holds of it."""
        return {"name": self.name, "ratio": self.ratio, "min": min(self.ratios), "max": max(self.ratios)}


def progress(message: str) -> None:
    """Say how far a benchmark is; standard output is for the results alone."""
    print(message, file=sys.stderr, flush=True)


def _seconds(work: Work, threads: int) -> float:
    """Return the time of one unit, with as many threads as the other side has, whatever that one left set."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    work.run()
    seconds = (time.perf_counter() - started) / work.units
    if torch.get_num_threads() != threads:
        raise DisagreementError(
            f"a side changed the number of threads from {threads}: its time does not count"
        )
    return seconds


def compare(name: str, ours: Work, peer: Work, repeats: int = 5, warmup: int = 1) -> Comparison:
    """Time both sides in turns, ours first, and return peer / ours for each pair.

    Both run in this process with torch's number of threads. What slows the machine for longer than a pair
    (other work, heat) slows both sides and leaves the ratio.

    Args:
        name: says what is compared, per which unit.
        ours: our side.
        peer: the other side.
        repeats: pairs of timed runs.
        warmup: untimed runs of each side before.
    """
    threads = torch.get_num_threads()
    for work in (ours, peer):
        for _ in range(warmup):
            (work.warm_up or work.run)()
    ratios: list[float] = []
    for pair in range(repeats):
        mine, theirs = _seconds(ours, threads), _seconds(peer, threads)
        ratios.append(theirs / mine)
        progress(
            f"{name}: {pair + 1}/{repeats}, {threads} threads, ours {mine * 1e3:.3g} ms, "
            f"peer {theirs * 1e3:.3g} ms, ratio {ratios[-1]:.3g}"
        )
    return Comparison(name, tuple(ratios))


def report(comparison: Comparison) -> Comparison:
    """Print the comparison's line and give it back."""
    print(comparison.line(), flush=True)
    return comparison


def entries(comparisons: Sequence[Comparison]) -> list[dict[str, str | float]]:
    """Return the content of ``results/bench.json``."""
    return [comparison.entry() for comparison in comparisons]
