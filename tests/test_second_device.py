"""The stand-in for a GPU: it computes as the processor does, and refuses what a GPU refuses."""

from __future__ import annotations

import pytest
import torch
from tests.second_device import NAME, CannotCarryError, TwoDevicesError, second_device
from torch import Tensor


def learned(device: str) -> list[float]:
    """Two steps of Adam on stacked networks, with what is easily left behind: shapes changed in place, indices."""
    W = torch.linspace(-1, 1, 24, device=device).view(2, 4, 3).requires_grad_()
    x = torch.arange(8.0, device=device).view(2, 4)
    optimizer = torch.optim.Adam([W], lr=0.1, fused=True)
    for _ in range(2):
        optimizer.zero_grad()
        y = torch.vmap(lambda w, x: (x @ w).relu())(W, x)
        y[:, torch.tensor([0, 2])].square().sum().backward()
        optimizer.step()
    return W.flatten().tolist()


def test_it_computes_as_the_processor_does() -> None:
    with second_device() as device:
        found = learned(device)
    assert found == learned("cpu")
    assert found != torch.linspace(-1, 1, 24).tolist()


def test_what_is_made_there_by_default_is_there() -> None:
    with second_device() as device, torch.device(device):
        made = [torch.tensor([1, 2]), torch.zeros(2), torch.arange(2), torch.as_tensor([3])]
        made.append(made[0].new_tensor([4]))
        assert {x.device.type for x in made} == {NAME}
        assert [x.tolist() for x in made] == [[1, 2], [0.0, 0.0], [0, 1], [3], [4]]
        assert made[0].cpu().device.type == "cpu"


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: here @ there,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: here[there.long()],
        lambda there, here: there.mul_(here),
        lambda there, here: torch.stack([there[0], here[0]]),
        lambda there, here: there.index_put_((here.long(),), here),
        lambda there, here: there.normal_(generator=torch.Generator()),
    ],
)
def test_two_devices_do_not_mix(mix: object) -> None:
    with second_device() as device, pytest.raises(TwoDevicesError):
        mix(torch.ones(3, device=device), torch.ones(3))


def test_what_a_gpu_takes_from_the_processor_it_takes() -> None:
    with second_device() as device:
        there = torch.arange(4.0, device=device)
        found: list[Tensor] = [
            there * torch.tensor(2.0),
            there[torch.tensor([1, 3])],
            there.clone().copy_(torch.ones(4)),
        ]
        assert [x.device.type for x in found] == [NAME] * 3
        assert [x.tolist() for x in found] == [[0, 2, 4, 6], [1, 3], [1] * 4]


def test_sparse_tensors_are_said_to_be_missing() -> None:
    with second_device() as device, pytest.raises(CannotCarryError, match="sparse"):
        torch.eye(2, device=device).to_sparse_csr()
