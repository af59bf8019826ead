"""The graph_nets demos that label graphs: trained on 8 to 16 nodes, tested on 16 to 32 and, beyond them, to 128."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from papers.graph_networks.demo_tasks import TASKS, Task
from papers.graph_networks.model import Labeller
from papers.graph_networks.training import Rows, Sizes, by_size, fit, whole
from repro import randomness
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.nn.graph_network import Widths

SIZES = Sizes(range(8, 17), (8, 12, 16, 20, 24, 32, 48, 64, 96, 128), (24, 32, 64, 128))
AT_ONCE = 2**18  # edges of a seed's graphs in one pass of a test

Predict = Callable[[Task], tuple[Tensor, Tensor]]
"""Graphs of S seeds, ``(S, B)``, to the labels of nodes and edges."""


def task(setting: Mapping[str, Any], seeds: Tensor, stream: str, step: int, graphs: int, size: int) -> Task:
    """Return every seed's own graphs."""
    return TASKS[setting["task"]](randomness.key(seeds, f"{stream}/{size}", step), graphs, size)


def train(setting: Mapping[str, Any], seeds: Sequence[int], sizes: Sequence[int], work: Work) -> Predict:
    """Train one network per seed on graphs that are drawn anew in every step, all of one size per step.

    Per step all networks see about as many nodes, whatever the size. The loss is the demos': the cross-entropies of
    nodes and of edges, averaged over the steps of the core.
    """
    numbers = torch.tensor(list(seeds))
    widths = Widths(1, task(setting, numbers, "widths", 0, 1, 2).graph.nodes.shape[-1], 1)
    ensemble = Ensemble(
        lambda seed: Labeller(widths, setting["width"], setting["pooling"], setting["core_steps"], seed),
        seeds,
        torch.get_default_device(),
    )
    mean_size = sum(SIZES.trained) / len(SIZES.trained)

    def loss(step: int) -> Tensor:
        n = sizes[step % len(sizes)]
        data = task(setting, numbers, "train", step, whole(setting["batch"] * mean_size / n), n)
        nodes, edges = ensemble(per_seed=[data.graph, data.mask])  # (S, steps, B, ..., 2)
        return surprise(nodes, data.nodes, None) + surprise(edges, data.edges, data.mask)

    fit(ensemble, loss, setting["steps"], setting["learning_rate"], work)

    @torch.no_grad()
    def predict(data: Task) -> tuple[Tensor, Tensor]:
        nodes, edges = ensemble(per_seed=[data.graph, data.mask])
        chosen = edges[:, -1].argmax(-1).bool()
        return nodes[:, -1].argmax(-1).bool(), chosen if data.mask is None else chosen & data.mask

    return predict


def surprise(scores: Tensor, labels: Tensor, mask: Tensor | None) -> Tensor:
    """Return each seed's cross-entropy, averaged over steps and over what ``mask`` holds.

    Args:
        scores: ``(S, steps, *, 2)``.
        labels, mask: bool ``(S, *)``; None holds all.
    """
    margin = scores[..., 1] - scores[..., 0]
    wrong_by = softplus(torch.where(labels.unsqueeze(1), -margin, margin)).mean(1).flatten(1)
    if mask is None:
        return wrong_by.mean(1)
    held = mask.flatten(1)
    return (wrong_by * held).sum(1) / held.sum(1)


def measured(
    setting: Mapping[str, Any], seeds: Sequence[int], size: int, predict: Predict
) -> list[dict[str, float]]:
    """Return every seed's row for a size.

    A wrong label counts as half a label more than it is, so that no error is zero and ratios exist.
    """
    numbers, graphs = torch.tensor(seeds), setting["test_graphs"]
    wrong = solved = positive = torch.zeros(len(seeds), dtype=torch.long)
    at_once = min(graphs, whole(AT_ONCE / size**2))
    for start in range(0, graphs, at_once):
        data = task(setting, numbers, f"test/{start}", 0, min(at_once, graphs - start), size)
        nodes, edges = predict(data)
        mistakes = (nodes != data.nodes).sum(-1) + (edges != data.edges).sum((-1, -2))
        wrong = wrong + mistakes.sum(1)
        solved = solved + (mistakes == 0).sum(1)
        positive = positive + data.nodes.sum((1, 2)) + data.edges.sum((1, 2, 3))
    error = (wrong + 0.5) / (positive + 0.5)
    return [
        {"size": size, "label_error": e, "unsolved_share": 1 - s / graphs}
        for e, s in zip(error.tolist(), solved.tolist(), strict=True)
    ]


def demo(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train on the training sizes, or at each tested size by itself, and test on every size."""
    for chunk in context.chunks(seeds, 2e8, largest=3):
        yield from by_size(setting, chunk, context, SIZES, train, measured)
