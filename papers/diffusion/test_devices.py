"""Trainings and samplers run on the device that they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.second_device import assert_keeps_to_its_device

from repro.project import find_project

ROOT = Path(__file__).parents[2]
PROJECT = find_project(ROOT)


@pytest.mark.parametrize("name", ["swiss_roll", "heartbeat", "toy"])
def test_trainings_keep_to_their_device(name: str) -> None:
    plan = PROJECT.ledger("diffusion").experiments[name]
    experiment: Any = PROJECT.function("diffusion", plan.function)
    assert_keeps_to_its_device(experiment, {**plan.setting, **plan.tiers["smoke"].set}, ROOT)
