"""When training ends and which epoch's weights count: the rules told for GAT, decided for each seed on its own.

The paper says only: early stopping on both the cross-entropy loss and accuracy on the validation nodes, patience 100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from repro.ensemble import StoppingRule
from repro.stopping import Never, Patience


class LossOrAccuracy:
    """Stop when neither the loss nor the accuracy has reached its best for ``patience`` consecutive epochs.

    Args:
        patience: epochs.
        ties: whether equalling the best counts as reaching it, as in the released code, or only surpassing it.
        watch: ``both``, or ``accuracy`` for the rule that the author names for Citeseer.
    """

    def __init__(self, patience: int, ties: bool, watch: str = "both") -> None:
        self.patience, self.ties, self.watch = patience, ties, watch
        self.state: dict[str, Tensor] = {}

    def update(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        """Take the epoch's ``loss`` and ``accuracy``, each ``(S,)``; return which seeds stop."""
        # Both as numbers to be maximised.
        values = {"accuracy": metrics["accuracy"], "loss": -metrics["loss"]}
        if self.watch == "accuracy":
            del values["loss"]
        reached = torch.zeros_like(metrics["loss"], dtype=torch.bool)
        for name, value in values.items():
            best = self.state.get(name, torch.full_like(value, -torch.inf))
            reached |= (value >= best) if self.ties else (value > best)
            self.state[name] = torch.maximum(best, value)
        waited = self.state.get("waited", torch.zeros_like(reached, dtype=torch.int64))
        self.state["waited"] = torch.where(reached, 0, waited + 1)
        return self.state["waited"] >= self.patience

    def keep(self, index: Tensor) -> None:
        """Forget all seeds but those at ``index``."""
        self.state = {name: value[index] for name, value in self.state.items()}


RULES: dict[str, Callable[[int], StoppingRule]] = {
    "released_code": lambda patience: LossOrAccuracy(patience, ties=True),
    "paper": lambda patience: LossOrAccuracy(patience, ties=False),
    "accuracy": lambda patience: LossOrAccuracy(patience, ties=True, watch="accuracy"),
    "loss": lambda patience: Patience("loss", patience),
    "none": lambda patience: Never(),
}
"""``released_code``: neither validation loss nor accuracy has equalled its best for so many epochs; ``paper``: the same
with only a better value counting, an equally good reading of its sentence; ``accuracy``: accuracy alone, ties
counting; ``loss``: the loss alone, as Kipf and Welling stop."""

OUTLASTS = {"paper": "released_code", "accuracy": "released_code"}
"""A rule that never stops before this one does: its trainings hold all that this one looks at but the last weights."""


def trained_by(rule: str, weights: str) -> str:
    """Return the rule that ends the training, which several rules may then be read off."""
    return rule if weights == "last" else OUTLASTS.get(rule, rule)


@dataclass(frozen=True)
class Trajectory:
    """What one seed's training looked like: validation loss and accuracy [%] after each epoch, and test accuracy [%].

    The latter is known after the last epoch and where the validation accuracy was at its best so far, else NaN.
    """

    loss: Tensor
    accuracy: Tensor
    test: Tensor

    def stops(self, rule: str, patience: int) -> int:
        """Return how many epochs the rule lets it train."""
        watcher = RULES[rule](patience)
        for epoch, (loss, accuracy) in enumerate(zip(self.loss, self.accuracy, strict=True)):
            if watcher.update(epoch, {"loss": loss[None], "accuracy": accuracy[None]}).item():
                return epoch + 1
        return len(self.loss)

    def tested(self, rule: str, epochs: int, weights: str) -> float:
        """Return the test accuracy of the weights that count.

        Args:
            rule: as in ``RULES``.
            epochs: how many were run.
            weights: ``last``; or ``best``, the last epoch whose loss and accuracy were both at their best so far, ties
                counting, which is when the released code saves; under ``accuracy`` that of the accuracy alone.

        Raises:
            ValueError: for the last weights of a training that went on.
        """
        loss, accuracy = self.loss[:epochs], self.accuracy[:epochs]
        saved = accuracy >= accuracy.cummax(0).values
        if rule != "accuracy":
            saved &= loss <= loss.cummin(0).values
        at = epochs - 1 if weights == "last" else int(saved.nonzero()[-1])
        if self.test[at].isnan():
            raise ValueError(f"after epoch {at + 1} of {len(self.test)} the network was not tested")
        return self.test[at].item()
