"""Image models run on the device that they are given; the small ones compute on the processor whatever it is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.second_device import assert_keeps_to_its_device

from papers.diffusion import leaves, pictures
from papers.diffusion.conftest import LEAVES, PICTURES
from repro.context import Context


@pytest.mark.parametrize(
    ("experiment", "setting"),
    [
        (leaves.dead_leaves_bound, LEAVES),
        (leaves.dead_leaves_samples, {**LEAVES, "samples": 2}),
        (pictures.pictures_model, PICTURES),
    ],
)
def test_image_models_keep_to_their_device(
    experiment: Any, setting: dict[str, Any], few_leaves: Context, small_pictures: None
) -> None:
    assert_keeps_to_its_device(experiment, setting, few_leaves.root)
