"""When training ends, decided for each seed on its own validation metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor


class Never:
    """Train to the last epoch."""

    def update(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        """Return False for every seed."""
        return torch.zeros_like(next(iter(metrics.values())), dtype=torch.bool)

    def keep(self, index: Tensor) -> None:
        """Nothing to forget."""


class Patience:
    """Stop when the metric has not fallen below its lowest value for ``patience`` consecutive epochs."""

    def __init__(self, metric: str, patience: int) -> None:
        self.metric, self.patience = metric, patience
        self.best: Tensor | None = None
        self.waited: Tensor | None = None

    def update(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        """Take the epoch's metrics ``(S,)``; return which seeds stop."""
        value = metrics[self.metric]
        if self.best is None or self.waited is None:
            self.best = torch.full_like(value, float("inf"))
            self.waited = torch.zeros_like(value, dtype=torch.int64)
        improved = value < self.best
        self.best = torch.where(improved, value, self.best)
        self.waited = torch.where(improved, 0, self.waited + 1)
        return self.waited >= self.patience

    def keep(self, index: Tensor) -> None:
        """Forget all seeds but those at ``index``."""
        if self.best is not None and self.waited is not None:
            self.best, self.waited = self.best[index], self.waited[index]


class AboveRecentMean:
    """Stop when the metric exceeds its mean over the ``window`` epochs before (tkipf/gcn, train.py)."""

    def __init__(self, metric: str, window: int) -> None:
        self.metric, self.window = metric, window
        self.recent: deque[Tensor] = deque(maxlen=window)

    def update(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        """Take the epoch's metrics ``(S,)``; return which seeds stop, none before ``window`` + 1 epochs."""
        value = metrics[self.metric]
        # The released rule looks only after epoch index `window`, when `window` earlier values exist.
        full = epoch > self.window and len(self.recent) == self.window
        stop = value > torch.stack(list(self.recent)).mean(0) if full else torch.zeros_like(value) > 0
        self.recent.append(value)
        return stop

    def keep(self, index: Tensor) -> None:
        """Forget all seeds but those at ``index``."""
        self.recent = deque((v[index] for v in self.recent), maxlen=self.window)
