"""The state of a training on disk, so that one that was killed goes on from there and not from its start."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.records import write_atomically

EVERY = 120.0  # seconds between two savings: what a killed training may lose


@dataclass
class Checkpoint:
    """One training's state: tensors and numbers in lists and mappings.

    Whoever names the file answers for it: it must change with code, setting, seeds, data and device, for what it holds
    is believed.

    Attributes:
        path: of the file; None keeps nothing.
        every: seconds between two savings; a training that takes less writes none.
    """

    path: Path | None = None
    every: float = EVERY
    _saved: float = field(default_factory=time.monotonic, init=False)

    def load(self) -> Any:
        """Return the state that was saved last, on the processor; None if there is none that can be read."""
        if self.path is None or not self.path.is_file():
            return None
        import pickle

        import torch

        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return None  # damaged: the training starts over

    def save(self, state: Callable[[], Any], ended: bool = False) -> None:
        """Save, if the last time is long enough ago; of a training that has ended, if it had ever been saved."""
        if self.path is None:
            return
        due = time.monotonic() - self._saved >= self.every
        if not (due or (ended and self.path.is_file())):
            return
        import torch

        buffer = io.BytesIO()
        torch.save(state(), buffer)
        write_atomically(self.path, buffer.getvalue())
        self._saved = time.monotonic()
