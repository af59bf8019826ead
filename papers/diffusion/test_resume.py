"""A training that was killed ends as one that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.killed import killed_and_resumed

from papers.diffusion import heartbeat, leaves, swiss
from papers.diffusion.conftest import HEARTBEAT, LEAVES, SWISS
from repro.context import Context, Work

TRAININGS: dict[str, Callable[[Context, Work], list[Any]]] = {
    "swiss": lambda _, w: swiss.train({**SWISS, "steps": 20}, [0, 1], w).parameters(),
    "heartbeat": lambda _, w: list(
        heartbeat.train({**HEARTBEAT, "steps": 20}, [0, 1], w).ensemble.parameters.values()
    ),
    "leaves": lambda c, w: list(
        leaves.train({**LEAVES, "steps": 20}, [0, 1], 16, c, w).ensemble.parameters.values()
    ),
}


@pytest.mark.parametrize("name", list(TRAININGS))
def test_a_killed_training_ends_as_one_that_was_not(name: str, tmp_path: Path, few_leaves: Context) -> None:
    train = TRAININGS[name]
    resumed = killed_and_resumed(lambda work: train(few_leaves, work), tmp_path / "t.pt", 0.7)
    for ours, whole in zip(resumed, train(few_leaves, Work()), strict=True):
        assert torch.equal(ours, whole)


def test_networks_trained_one_after_the_other_keep_to_themselves(
    few_leaves: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    whole = leaves.train

    def train_and_look(*args: Any) -> Any:
        kept.append(args[4].checkpoint.path.name)
        return whole(*args)

    monkeypatch.setattr(leaves, "STEPS", (10, 20))
    monkeypatch.setattr(leaves, "train", train_and_look)
    few_leaves.kept = tmp_path / "kept"
    list(leaves.dead_leaves_by_steps({**LEAVES, "samples": 1}, [0], few_leaves))
    assert kept == ["training-0.pt", "training-1.pt"]
