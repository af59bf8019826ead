"""DictionaryLookup runs on the device that it is given; sparse products cannot be tested without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.second_device import assert_keeps_to_its_device

from papers.gat import lookup
from repro.project import find_project

LEDGER = find_project(Path(__file__)).ledger("gat")


@pytest.mark.parametrize(
    "changes",
    [{}, {"model": "gat", "heads": 8, "selection": "validation"}, {"model": "gin"}, {"dropout": "always_on"}],
)
def test_lookups_keep_to_their_device(changes: dict[str, Any]) -> None:
    plan = LEDGER.experiments["dictionary"]
    assert_keeps_to_its_device(lookup.dictionary, {**plan.setting, **plan.tiers["smoke"].set, **changes})
