"""Every training runs on the device that it is given."""

from __future__ import annotations

from typing import Any

import pytest
from tests.second_device import assert_keeps_to_its_device

from papers.graph_networks import calibration, chain, demos, domains, experiments, film, swimming
from papers.graph_networks.conftest import setting

ARMS: list[tuple[Any, str, dict[str, Any]]] = [
    (chain.chain, "chain", {"largest": 4}),
    (chain.chain, "chain", {"largest": 4, "model": "linear"}),
    (
        chain.chain,
        "chain",
        {"largest": 4, "trained_on": "same_size", "positions": "relative", "gravity": False},
    ),
    (demos.demo, "demo", {"largest": 8}),
    (demos.demo, "demo", {"largest": 8, "task": "shortest_path", "pooling": "mean"}),
    (swimming.swim, "swimmer", {"largest": 3, "test_episodes": 2}),
    (film.film, "film", {}),
    (experiments.prediction, "prediction", {"schedule": "plateau", "steps": 3, "effect_penalty": 0.001}),
    (experiments.prediction, "prediction", {"domain": "balls", "trained_on": "same_size", "largest": 3}),
    (experiments.prediction, "prediction", {"domain": "string", "model": "mlp"}),
    (experiments.energy, "energy", {}),
    (calibration.baselines, "baseline", {}),
]


@pytest.mark.parametrize(("experiment", "name", "changes"), ARMS)
def test_trainings_keep_to_their_device(
    experiment: Any, name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domains, "STEPS", 20)
    monkeypatch.setattr(calibration, "STEPS", 20)
    monkeypatch.setattr(swimming, "STEPS", 5)
    assert_keeps_to_its_device(experiment, setting(name, **changes))
