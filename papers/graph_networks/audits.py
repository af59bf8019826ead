"""Checks of the printed tables themselves, without training: what the ratios in them say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from papers.graph_networks.model import InteractionNetwork
from repro.context import Context

Rows = Iterator[tuple[int, dict[str, float]]]

# Prediction at the training size (1612.00222, arXiv v1, Table 2): mean squared velocity errors.
PREDICTION = {
    "nbody": {"constant_velocity": 82.0, "mlp": 79.0, "dynamics_only": 76.0, "interaction": 0.25},
    "balls": {"constant_velocity": 0.074, "mlp": 0.072, "dynamics_only": 0.074, "interaction": 0.0020},
    "string": {"constant_velocity": 0.018, "mlp": 0.016, "dynamics_only": 0.017, "interaction": 0.0011},
}

# Generalisation (Table 3): constant velocity, trained at the tested size, trained at the training size.
GENERALISATION = {
    "nbody 3": (45.0, 0.21, 0.052),
    "nbody 12": (166.0, 5.2, 7.8),
    "balls 3": (0.054, 0.0053, 0.0053),
    "balls 9": (0.084, 0.0019, 0.004),
    "string 5,1": (0.0080, 0.0030, 0.00052),
    "string 30,1": (0.010, 0.00066, 0.00074),
    "string 15,0": (0.020, 0.0010, 0.0014),
    "string 15,2": (0.012, 0.00097, 0.00097),
}


def printed_tables(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Recompute what the two tables imply; every seed gives the same."""
    advantage = [
        min(row[other] for other in ("constant_velocity", "mlp", "dynamics_only")) / row["interaction"]
        for row in PREDICTION.values()
    ]
    spread = [
        max(row[m] for m in ("mlp", "dynamics_only")) / row["constant_velocity"]
        for row in PREDICTION.values()
    ]
    low = [
        min(row[m] for m in ("mlp", "dynamics_only")) / row["constant_velocity"]
        for row in PREDICTION.values()
    ]
    _, within, transfer = GENERALISATION["nbody 12"]
    downwards = [GENERALISATION[case] for case in ("nbody 3", "string 5,1")]
    taus = [after / own for _, own, after in GENERALISATION.values()]
    values = {
        "smallest_advantage": min(advantage),
        "baseline_spread": max(max(spread) - 1, 1 - min(low)),
        "growth_to_twelve": transfer / PREDICTION["nbody"]["interaction"],
        "growth_of_the_task": within / PREDICTION["nbody"]["interaction"],
        "cost_of_transfer": transfer / within,
        "downward_losses": sum(after >= own for _, own, after in downwards),
        "considerable_cells": sum(tau > 2.0 for tau in taus),
    }
    for seed in seeds:
        yield seed, values


def parameter_count(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Count the parameters of the n-body network: relations see 4 differences and 2 masses, objects 3 features."""
    network = InteractionNetwork(6, 3, 150, relations=True, energy=False, seed=0)
    count = sum(p.numel() for p in network.parameters())
    for seed in seeds:
        yield seed, {"parameters": count}
