"""The protocol: Adam, plateau schedule, last epoch; metrics and loss as in the released code.

Seeds are stacked (`repro.ensemble`): each has its own weights, data order, sign flips and learning rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from papers.graph_transformer.baselines import network
from papers.graph_transformer.graphs import Graphs
from papers.graph_transformer.model import Batch, Design, Network, Task
from repro import randomness
from repro.context import Work
from repro.ensemble import Ensemble

# Seeds trained at once, memory permitting: small graphs and GPUs wait for launches, not for arithmetic.
TOGETHER = 4
# Pairs of nodes per block on a processor: with eight heads their weights are two megabytes, one tile.
BLOCK = 2**16


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return (V - n_k) / V per class k of the V labels (S, V) that are not -1; 0 for a class that is not there."""
    counts = functional.one_hot(labels.clamp(min=0), classes).mul((labels >= 0).unsqueeze(-1)).sum(-2).float()
    total = counts.sum(-1, keepdim=True)
    return (total - counts) / total * (counts > 0)


def classification_loss(logits: Tensor, labels: Tensor, weighted: bool) -> Tensor:
    """Return the class-weighted cross-entropy (S,) of logits (S, N, C) over the nodes of a batch."""
    log_p = torch.log_softmax(logits, -1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    mask = (labels >= 0).float()
    if weighted:
        mask = mask * class_weights(labels, logits.shape[-1]).gather(-1, labels.clamp(min=0))
    return -(mask * log_p).sum(-1) / mask.sum(-1)


def hits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return right predictions and nodes per class, each (S, C), of one batch."""
    classes = logits.shape[-1]
    there = functional.one_hot(labels.clamp(min=0), classes) * (labels >= 0).unsqueeze(-1)
    right = there * (logits.argmax(-1) == labels).unsqueeze(-1)
    return right.sum(1).double(), there.sum(1).double()


class Accuracy:
    """Class-balanced accuracy in %, over S seeds: means over the classes that occur of within-class recall.

    ``batch_mean``: of each batch, then averaged over batches (the released code: it depends on the batch size).
    ``pooled``: of all nodes at once. ``plain``: the share of right nodes, classes aside.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []

    def add(self, right: Tensor, there: Tensor) -> None:
        """Take one batch's counts per class, each (S, C)."""
        self._batches.append((right, there))

    @staticmethod
    def _balanced(right: Tensor, there: Tensor) -> Tensor:
        occurs = there > 0
        return 100 * (right / there.clamp(min=1)).sum(-1) / occurs.sum(-1)

    def value(self, metric: str) -> Tensor:
        """Return the accuracy (S,) by one of the three definitions."""
        if metric == "batch_mean":
            return torch.stack([self._balanced(r, t) for r, t in self._batches]).mean(0)
        right, there = (torch.stack(x).sum(0) for x in zip(*self._batches, strict=True))
        return self._balanced(right, there) if metric == "pooled" else 100 * right.sum(-1) / there.sum(-1)


class Plateau:
    """The learning rate's factor per seed: times ``factor`` after ``patience`` epochs without a lower loss.

    The rule of torch's ``ReduceLROnPlateau`` with its relative threshold of 10^-4.
    """

    def __init__(self, seeds: int, factor: float, patience: int, device: str = "cpu") -> None:
        self.scale = torch.ones(seeds, dtype=torch.float64, device=device)
        self._best = torch.full((seeds,), float("inf"), device=device)
        self._bad = torch.zeros(seeds, device=device)
        self._factor, self._patience = factor, patience

    def state(self) -> list[Tensor]:
        """Return what it remembers."""
        return [self.scale, self._best, self._bad]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Take what :meth:`state` returned."""
        self.scale, self._best, self._bad = (x.to(self.scale.device) for x in state)

    def update(self, loss: Tensor) -> None:
        """Take the validation losses (S,) of an epoch."""
        better = loss < self._best * (1 - 1e-4)
        self._best = torch.where(better, loss, self._best)
        self._bad = torch.where(better, 0, self._bad + 1)
        due = self._bad > self._patience
        self.scale = torch.where(due, self.scale * self._factor, self.scale)
        self._bad[due] = 0


def flip_signs(batch: Batch, how: str, seeds: Tensor, step: int) -> Batch:
    """Return a stacked batch with the eigenvectors' signs, (S, N, k), drawn anew.

    ``batch``: one sign per eigenvector for the whole batch, as in the code; ``graph``: one per graph; ``none``.
    """
    if how == "none" or not batch.encoding.is_floating_point() or batch.encoding.shape[-1] == 0:
        return batch
    (S, graphs), k = batch.sizes.shape, batch.encoding.shape[-1]
    count = graphs if how == "graph" else 1
    bits = randomness.uniform(randomness.key(seeds, "signs", step), count * k) < 0.5
    signs = torch.where(bits, -1.0, 1.0).view(S, count, k).to(batch.encoding.device)
    of_graph = batch.graph if how == "graph" else torch.zeros_like(batch.graph)
    own = torch.arange(S, device=signs.device).view(S, 1)
    return batch._replace(encoding=batch.encoding * signs[own, of_graph])


def build(setting: Mapping[str, Any], task: Task, seed: int) -> Network:
    """Return the network of a setting with a seed's initial weights."""
    choices = {field.name: setting[field.name] for field in fields(Design) if field.name != "task"}
    return network(setting["model"], Design(task, **choices), seed)


class Trainer:
    """S seeds of one network with their optimizer and schedule.

    Args:
        setting: see the experiments ``zinc``, ``cluster`` and ``pattern`` in ``paper.yaml``.
        task: what the data set fixes.
        seeds: seed numbers.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, setting: Mapping[str, Any], task: Task, seeds: Sequence[int], device: str) -> None:
        self.setting, self.task, self.device = setting, task, device
        # A GPU waits for launches rather than for arithmetic and likes one block best.
        self.block = BLOCK if device == "cpu" else None
        self.ensemble = Ensemble(lambda seed: build(setting, task, seed), seeds, device)
        self.parameters = list(self.ensemble.parameters.values())
        self.adam = torch.optim.Adam(self.parameters, lr=setting["learning_rate"])
        self.plateau = Plateau(len(seeds), setting["factor"], setting["patience"], device)
        self.steps = 0

    @property
    def weights(self) -> dict[str, Tensor]:
        """All seeds' parameters and buffers, which training changes in place."""
        return {**self.ensemble.parameters, **self.ensemble.buffers}

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights over."""
        with torch.no_grad():
            for name, x in self.weights.items():
                x.copy_(weights[name])

    @contextmanager
    def holding(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Hold other weights for as long as the context lasts."""
        last = {name: x.detach().clone() for name, x in self.weights.items()}
        self.put(weights)
        yield
        self.put(last)

    def state(self) -> dict[str, Any]:
        """Return all that the next epoch depends on."""
        weights = {name: x.detach() for name, x in self.weights.items()}
        return {
            "weights": weights,
            "adam": self.adam.state_dict(),
            "plateau": self.plateau.state(),
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state` returned."""
        self.put(state["weights"])
        self.adam.load_state_dict(state["adam"])
        self.plateau.restore(state["plateau"])
        self.steps = state["steps"]

    def network(self, i: int) -> Network:
        """Return the i-th seed's network by itself, for evaluation."""
        net = build(self.setting, self.task, int(self.ensemble.seeds[i])).to(self.device).eval()
        net.load_state_dict({k: x[i] for k, x in self.weights.items()})
        return net

    def loss(self, out: Tensor, targets: Tensor) -> Tensor:
        """Return the loss (S,) of one batch: L1, or the class-weighted cross-entropy."""
        if self.task.graph_level:
            return (out - targets).abs().mean(-1)
        return classification_loss(out, targets, self.setting["loss_weights"])

    def batch(self, data: Graphs, index: Tensor) -> tuple[Batch, Tensor]:
        """Return the graphs at ``index`` (S, B) as the network takes them, and their targets."""
        return data.batch(index, self.block, edge_stream=self.ensemble.template.edge_stream)

    def epoch(self, data: Graphs, number: int) -> None:
        """Train on every graph once, each seed in its own order."""
        self.ensemble.template.train()
        keys = randomness.key(self.ensemble.seeds.cpu(), "order", number)
        order = randomness.permutation(keys, len(data)).to(self.device)
        for index in order.split(self.setting["batch"], dim=1):
            batch, targets = self.batch(data, index)
            batch = flip_signs(batch, self.setting["sign_flip"], self.ensemble.seeds.cpu(), self.steps)
            self.adam.zero_grad(set_to_none=True)
            self.loss(self.ensemble(per_seed=(batch,)), targets).sum().backward()
            self._step()
            self.steps += 1

    def _step(self) -> None:
        """One step of Adam, each seed's as long as its own learning rate says.

        Adam's moments do not depend on the learning rate, so a shortened step is the step of a smaller rate.
        """
        if bool((self.plateau.scale == 1).all()):
            self.adam.step()
            return
        before = [p.detach().clone() for p in self.parameters]
        self.adam.step()
        with torch.no_grad():
            for p, old in zip(self.parameters, before, strict=True):
                p.copy_(torch.lerp(old, p, self.plateau.scale.to(p.dtype).view(-1, *[1] * (p.dim() - 1))))

    @torch.no_grad()
    def evaluate(self, data: Graphs, order: Tensor | None = None) -> dict[str, Tensor]:
        """Return the loss (S,), averaged over batches, and the metrics (S,) on a set.

        Those are ``mae`` averaged over batches, or the accuracies ``batch_mean``, ``pooled`` and ``plain``.
        """
        self.ensemble.template.eval()
        seeds, losses, accuracy = len(self.ensemble), [], Accuracy()
        for index in torch.arange(len(data), device=self.device).split(self.setting["batch"]):
            batch, targets = self.batch(data, index.expand(seeds, -1))
            out = self.ensemble(per_seed=(batch,))
            losses.append(self.loss(out, targets))
            if not self.task.graph_level:
                accuracy.add(*hits(out, targets))
        mean = torch.stack(losses).mean(0)
        if self.task.graph_level:
            return {"loss": mean, "mae": mean}
        return {"loss": mean, **{m: accuracy.value(m) for m in ("batch_mean", "pooled", "plain")}}


def run(
    setting: Mapping[str, Any],
    task: Task,
    seeds: Sequence[int],
    train: Graphs,
    val: Graphs,
    device: str = "cpu",
    work: Work | None = None,
) -> Iterator[tuple[Trainer, list[int], int]]:
    """Train all seeds; yield, as seeds end, (trainer with their weights, their positions, epochs run).

    A seed ends when its learning rate falls below ``lowest_rate`` or after ``epochs``. Its weights are then those of
    the last epoch, or with ``weights: best_validation`` of the lowest validation loss. What the trainer holds is to be
    evaluated before the next one is asked for. A run that goes on from its checkpoint yields again what had ended.
    """
    work = work or Work()
    trainer = Trainer(setting, task, seeds, device)
    train, val = train.to(device), val.to(device)
    if setting["epochs"] == 0:
        yield trainer, list(range(len(seeds))), 0
        return
    ended = torch.zeros(len(seeds), dtype=torch.int64)  # after how many epochs; 0 while it goes on
    keep_best = setting["weights"] == "best_validation"
    best_loss = torch.full((len(seeds),), float("inf"), device=device)
    # The weights to be tested: of seeds that have ended and, if those of the best epoch are, of all.
    kept = {name: x.detach().clone() for name, x in trainer.weights.items()}
    first = 0
    if saved := work.checkpoint.load():
        first, ended = saved["epochs"], saved["ended"]
        trainer.restore(saved["trainer"])
        kept = {name: x.to(device) for name, x in saved["kept"].items()}
        best_loss = saved["best_loss"].to(device)
        for epochs in ended[ended > 0].unique().tolist():
            with trainer.holding(kept):
                yield trainer, (ended == epochs).nonzero().flatten().tolist(), epochs
    for epoch in range(first, setting["epochs"]):
        trainer.epoch(train, epoch)
        loss = trainer.evaluate(val)["loss"]
        trainer.plateau.update(loss)
        if keep_best:
            better = (loss < best_loss) & (ended == 0).to(device)
            best_loss = torch.where(better, loss, best_loss)
            for name, x in trainer.weights.items():
                kept[name][better] = x.detach()[better]
        work.tick((epoch + 1) / setting["epochs"])
        stop = (trainer.plateau.scale * setting["learning_rate"] < setting["lowest_rate"]).cpu() & (
            ended == 0
        )
        if epoch == setting["epochs"] - 1:
            stop = ended == 0
        if stop.any():
            ended[stop] = epoch + 1
            if not keep_best:
                for name, x in trainer.weights.items():
                    kept[name][stop.to(device)] = x.detach()[stop.to(device)]
            with trainer.holding(kept):
                yield trainer, stop.nonzero().flatten().tolist(), epoch + 1
        if ended.all():
            return
        now = {"epochs": epoch + 1, "ended": ended, "kept": kept, "best_loss": best_loss}
        work.checkpoint.save(lambda now=now: {**now, "trainer": trainer.state()})
