"""How much velocities change in a step: against the printed baselines, and to find constants that are not printed.

The gravitational constant G and the distance at which the force is clipped decide how much the velocity of a body
changes, and the paper prints the mean square of that change for three sizes (1612.00222, Tables 2 and 3: 45, 82 and
166). Two constants are fitted to three numbers; that the third comes out near is the only check there is. Balls and
strings have no free constant. ``python -m papers.graph_networks.calibration`` prints the grid, in some 20 minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any, NamedTuple

import torch

from papers.graph_networks.training import Rows, on
from repro.context import Context
from repro.physics import balls, nbody, string

PUBLISHED = {3: 45.0, 6: 82.0, 12: 166.0}  # bodies to the printed error [(m/s)²]
SIZES = {"nbody": (3, 6, 12), "balls": (3, 6, 9), "string": (5, 15, 30)}
STEPS = 1000
GRID_G = (5e4, 6e4, 7e4, 8e4, 9e4, 1e5)  # m³/(kg s²)
GRID_CLIP = (4.0, 5.0, 6.0, 7.0, 8.0, 9.0)  # m
SCENES = 500  # of a seed
SEEDS = range(20)  # of the scenes that calibrate
LATER = 1000  # the first seed of scenes that test what was calibrated


def constant_velocity_error(setting: Mapping[str, Any], seed: int, size: int) -> float:
    """Return the mean squared change of a velocity component in a step of 1 ms, over scenes of 1000 steps."""
    seeds, stream, scenes = torch.tensor([seed]), f"baseline/{setting['domain']}/{size}", setting["scenes"]
    if setting["domain"] == "nbody":
        G, one_way = setting["G"], setting["planets"] == "one_way"
        scene = nbody.sample(seeds, stream, scenes, size, G, one_way)
        path = nbody.simulate(scene, G, setting["clip"], STEPS)
    elif setting["domain"] == "balls":
        path = balls.simulate(balls.sample(seeds, stream, scenes, size), STEPS)
    else:
        path = string.simulate(string.sample(seeds, stream, scenes, size, setting["ends_pinned"]), STEPS)
    return float((path.v[1:] - path.v[:-1]).square().mean())


class Error(NamedTuple):
    """A constant velocity's error [(m/s)²]: the mean over seeds, and its standard error."""

    mean: float
    se: float


def errors(G: float, clip: float, seeds: Sequence[int] = SEEDS, scenes: int = SCENES) -> dict[int, Error]:
    """Return our constant velocity's error for each published number of bodies.

    The mean is over rare close encounters: on 10,000 scenes of 3 bodies its standard error is 3 %. So every point of
    the grid sees the same starts.
    """
    setting = {"domain": "nbody", "scenes": scenes, "G": G, "clip": clip, "planets": "either_way"}
    found = {}
    for n in PUBLISHED:
        own = torch.tensor([constant_velocity_error(setting, seed, n) for seed in seeds])
        found[n] = Error(float(own.mean()), float(own.std()) / len(own) ** 0.5)
    return found


def misfit(found: Mapping[int, Error]) -> float:
    """Return the sum over the published sizes of the squared log ratio of our n-body baseline and theirs."""
    return sum(log(found[n].mean / published) ** 2 for n, published in PUBLISHED.items())


def baselines(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Measure the constant-velocity baseline, on scenes that calibrated nothing."""
    for (seed,) in context.chunks(seeds, 1, largest=1):
        with on(context.device):
            rows = [
                {"size": n, "constant_velocity_error": constant_velocity_error(setting, LATER + seed, n)}
                for n in SIZES[setting["domain"]]
            ]
        yield seed, rows


def main() -> None:
    """Print how well every point of the grid fits."""
    print(
        f"{'G':>7} {'clip':>4} {'misfit':>7}  error with",
        ", ".join(f"{n} ({e:g})" for n, e in PUBLISHED.items()),
    )
    for clip in GRID_CLIP:
        for G in GRID_G:
            found = errors(G, clip)
            shown = "  ".join(f"{e.mean:.1f} ± {e.se:.1f}" for e in found.values())
            print(f"{G:7g} {clip:4g} {misfit(found):7.3f}  {shown}", flush=True)


if __name__ == "__main__":
    main()
