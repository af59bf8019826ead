"""What several of the tests use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from repro.project import find_project

ROOT = Path(__file__).parents[2]


LEDGER = find_project(ROOT).ledger("graph_networks")


def setting(experiment: str, **changes: Any) -> dict[str, Any]:
    """The smoke tier's setting of an experiment, with some values changed."""
    plan = LEDGER.experiments[experiment]
    return {**plan.setting, **plan.tiers["smoke"].set, **changes}


def seeds(*numbers: int) -> torch.Tensor:
    """Seeds as the functions of the paper take them."""
    return torch.tensor(numbers)
