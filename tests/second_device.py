"""A second device where there is no GPU, so that a test can see that code keeps to the device it is given.

It goes by the name of torch's ``meta`` device, but its tensors carry numbers: each holds one of the processor's, on
which every operation is done. What a GPU refuses is refused here: tensors of two devices in one operation. Sparse
tensors it cannot have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from repro.context import Context

NAME = "meta"
aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default}
BY_INDEX = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
TOGETHER = {aten.cat.default, aten.stack.default}  # take not even a single number from elsewhere


class TwoDevicesError(RuntimeError):
    """An operation was given tensors of both devices."""


class CannotCarryError(RuntimeError):
    """A sparse tensor, which cannot be told to be elsewhere."""


class There(Tensor):
    """A tensor of the second device; ``inner`` is the one that is computed with."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        if inner.layout != torch.strided:
            raise CannotCarryError(f"a tensor of layout {inner.layout}")
        found = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME),
        )
        found.inner = inner
        return found

    def __repr__(self) -> str:
        return f"There({self.inner})"

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the processor, and say that its result is there if what it was given is.

    Raises:
        TwoDevicesError: for tensors of both devices, or a generator of the processor's; but single numbers and
            indices may come from there.
    """
    flat = tree_flatten((args, kwargs))[0]
    tensors = [x for x in flat if isinstance(x, Tensor)]
    there = {id(x.inner): x for x in tensors if isinstance(x, There)}
    indexed = func in BY_INDEX and isinstance(args[0], There)
    bound = tree_flatten((args[0], *args[2:]))[0] if indexed else tensors
    here = [
        x
        for x in bound
        if isinstance(x, Tensor) and not isinstance(x, There) and (x.dim() or func in TOGETHER)
    ]
    here += [x for x in flat if isinstance(x, torch.Generator)]
    if there and here and func not in MOVES:
        raise TwoDevicesError(f"{func}: {[(tuple(x.shape), str(x.device)) for x in tensors]}")
    device = kwargs.get("device")
    result_there = bool(there) if device is None else torch.device(device).type == NAME
    if func is aten.copy_.default:
        result_there = isinstance(args[0], There)
    if device is not None and result_there:
        kwargs = kwargs | {"device": torch.device("cpu")}
    found = func(*tree_map(inside, args), **tree_map(inside, kwargs))
    if not result_there:
        return found
    if torch.Tag.inplace_view in func.tags:  # it changes a shape in place, and has to do so outside as well
        with no_dispatch():
            func(*args, **kwargs)
    # What an operation was given to write into comes back as it is.
    return tree_map(lambda x: there[id(x)] if id(x) in there else outside(x), found)


def inside(x: Any) -> Any:
    return x.inner if isinstance(x, There) else x


def outside(x: Any) -> Any:
    return There(x) if isinstance(x, Tensor) else x


class _Mode(TorchDispatchMode):
    """Sees operations that are given no tensor, too: those that make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """Sees what is made of Python's numbers, which torch does without an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.new_tensor:
            func, kwargs, args = (
                torch.tensor,
                {"dtype": args[0].dtype, "device": args[0].device, **kwargs},
                args[1:],
            )
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device and torch.device(device).type == NAME:
            return func(*args, **kwargs | {"device": "cpu"}).to(NAME)
        return func(*args, **kwargs)


@contextmanager
def second_device() -> Iterator[str]:
    """Give the second device's name; it exists as long as the context does."""
    # Optimisers ask for the device's name before they take all parameters in one operation.
    fused = "torch.optim.optimizer._get_fused_kernels_supported_devices"
    with mock.patch(fused, return_value=["cpu", NAME]), _Mode(), _FromNumbers():
        yield NAME


def assert_keeps_to_its_device(experiment: Any, setting: Any, root: Path = Path()) -> None:
    """Run an experiment here and there: it asks where, mixes no tensors of the two, and finds the same numbers."""
    here = list(experiment(setting, [0, 1], Context(root)))
    with second_device() as device:
        context = Context(root, device)
        there = list(experiment(setting, [0, 1], context))
    assert context.asked, "it computes on the processor, and its records will say so: nothing to test"
    assert json.dumps(there) == json.dumps(here)
