"""The state of a training on disk, so that one that was killed goes on from there and not from its start."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.records import write_atomically

EVERY = 120.0  # seconds between two savings: what a killed training may lose


def _ignore(seconds: float) -> None:
    pass


@dataclass
class Checkpoint:
    """One training's state: tensors and numbers in lists and mappings.

    Whoever names the file answers for it: it must change with code, setting, seeds, data and device, for what it holds
    is believed.

    Attributes:
        path: of the file; None keeps nothing.
        every: seconds between two savings; a training that takes less writes none.
        keep_end: save the end of a training however short it was, because others follow it.
        resumed: takes the seconds that a loaded state had taken.
    """

    path: Path | None = None
    every: float = EVERY
    keep_end: bool = False
    resumed: Callable[[float], None] = _ignore
    _began: float = field(default_factory=lambda: time.monotonic(), init=False)
    _saved: float = field(default_factory=lambda: time.monotonic(), init=False)
    _earlier: float = field(default=0.0, init=False)

    def load(self) -> Any:
        """Return the state that was saved last, on the processor; None if there is none that can be read."""
        if self.path is None or not self.path.is_file():
            return None
        import pickle

        import torch

        try:
            seconds, state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, TypeError, pickle.UnpicklingError):
            return None  # damaged: the training starts over
        self._earlier = float(seconds)
        self.resumed(self._earlier)
        return state

    def save(self, state: Callable[[], Any], ended: bool = False) -> None:
        """Save, if the last time is long enough ago; of a training that has ended, if it had ever been saved.

        A full disk is warned of, and the training goes on.
        """
        if self.path is None:
            return
        now = time.monotonic()
        if now - self._saved < self.every and not (ended and (self.keep_end or self.path.is_file())):
            return
        import torch

        buffer = io.BytesIO()
        torch.save((self._earlier + now - self._began, state()), buffer)
        self._saved = now
        try:
            write_atomically(self.path, buffer.getvalue())
        except OSError as error:
            warnings.warn(
                f"{self.path}: the training goes on, but its state is not kept: {error}", stacklevel=2
            )
