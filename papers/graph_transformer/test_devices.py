"""Trainings run on the device that they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.second_device import assert_keeps_to_its_device

from papers.graph_transformer import experiments, tasks, trees
from repro.project import find_project

ROOT = Path(__file__).parents[2]
LEDGER = find_project(ROOT).ledger("graph_transformer")

ARMS: list[tuple[Any, str, dict[str, Any]]] = [
    (experiments.node_classification, "cluster", {"graph": "full", "weights": "best_validation"}),
    (
        experiments.node_classification,
        "pattern",
        {"encoding": "laplacian", "sign_flip": "graph", "norm": "layer"},
    ),
    (experiments.node_classification, "pattern", {"model": "gatedgcn"}),
    (experiments.size_transfer, "size_transfer", {"trained_on": "same_size"}),
    (experiments.size_transfer, "size_transfer", {"model": "gat", "encoding": "none"}),
    (tasks.opposite, "opposite", {}),
    (trees.match, "tree_match", {}),
]


@pytest.mark.parametrize(("experiment", "name", "changes"), ARMS)
def test_trainings_keep_to_their_device(experiment: Any, name: str, changes: dict[str, Any]) -> None:
    plan = LEDGER.experiments[name]
    assert_keeps_to_its_device(experiment, {**plan.setting, **plan.tiers["smoke"].set, **changes}, ROOT)
