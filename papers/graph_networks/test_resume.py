"""A training that was killed ends as one that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.killed import killed_and_resumed

from papers.graph_networks import chain, demos, experiments, swimming
from papers.graph_networks.conftest import setting
from papers.graph_networks.training import fit
from repro.checkpoint import Checkpoint
from repro.context import Context, Work

TRAININGS: dict[str, tuple[str, dict[str, Any], Callable[[dict[str, Any], Work], Any]]] = {
    "chain": ("chain", {}, lambda s, w: chain.train_and_test(s, [0, 1], [5, 6], w)[1].tolist()),
    "sort": (
        "demo",
        {"width": 4, "core_steps": 1},
        lambda s, w: demos.measured(s, [0, 1], 12, demos.train(s, [0, 1], [8, 9], w)),
    ),
    "swimmer": ("swimmer", {}, lambda s, w: swimming.measured(s, [0], 4, swimming.train(s, [0], [3, 4], w))),
    "interaction": (
        "prediction",
        {"schedule": "plateau", "scenes": 4},
        lambda s, w: experiments.measured(s, [0, 1], 6, experiments.train(s, [0, 1], 6, w)),
    ),
}


@pytest.mark.parametrize("name", list(TRAININGS))
def test_a_killed_training_ends_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    experiment, changes, run = TRAININGS[name]
    own = setting(experiment, steps=101, **changes)
    assert killed_and_resumed(lambda work: run(own, work), tmp_path / "t.pt", 0.9) == run(own, Work())


def test_what_has_ended_is_not_trained_again(tmp_path: Path) -> None:
    own = setting("chain", steps=60)
    work = Work(checkpoint=Checkpoint(tmp_path / "t.pt", every=0.0))
    before = chain.train_and_test(own, [0], [5], work)[1].tolist()
    untouched = Work(lambda share: pytest.fail("it trains"), Checkpoint(tmp_path / "t.pt"))
    assert chain.train_and_test(own, [0], [5], untouched)[1].tolist() == before


def test_sizes_trained_alone_keep_to_themselves(tmp_path: Path) -> None:
    """Each network that an experiment trains has a file of its own."""
    own = setting("chain", trained_on="same_size", steps=51, largest=9)
    context = Context(tmp_path, kept=tmp_path / "kept")
    kept: list[str] = []

    def fit_and_look(*args: Any) -> None:
        kept.append(args[4].checkpoint.path.name)
        fit(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "fit", fit_and_look)
        list(chain.chain(own, [0], context))
    assert kept == ["training-0.pt", "training-1.pt"]
