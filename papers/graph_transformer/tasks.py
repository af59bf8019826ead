"""A task that needs a long reach: every node of a ring reports the token of the node opposite.

The checkable form of "each node can attend to any node directly" (Lopez, Fey and Leskovec, "An introduction to graph
transformers", 2025): on a ring of 2 k nodes, message passing with fewer than k layers never sees the node opposite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from papers.graph_transformer.encodings import laplacian_eigenvectors
from papers.graph_transformer.graphs import Graphs, join, pad, with_arbitrary_signs
from papers.graph_transformer.model import Batch, Task
from papers.graph_transformer.training import TOGETHER, Trainer, build, run
from repro import randomness
from repro.context import Context

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]
Draw = Callable[[Mapping[str, Any], int, str, int], Graphs]
"""Makes graphs of a setting, a seed, a part and a count."""

TOKENS = 4
TASK = Task(tokens=TOKENS, bonds=0, out=TOKENS, roles=3, graph_level=False)


def ring(n: int) -> np.ndarray:
    """Return the adjacency of a ring, bool (n, n): all its eigenvalues but one or two come in pairs."""
    A = np.roll(np.eye(n, dtype=bool), 1, 0)
    return A | A.T


def numbered(
    setting: Mapping[str, Any], seed: int, part: str, A: np.ndarray, tokens: np.ndarray, targets: np.ndarray
) -> Graphs:
    """Return graphs of one shape, bool (n, n), with tokens and targets (count, n), their nodes numbered at random.

    Eigenvectors are computed from each numbered graph, so that the basis within each space of equal eigenvalues differs
    from graph to graph.
    """
    keys = [randomness.key(seed, f"{part}/order", i) for i in range(len(tokens))]
    orders = [randomness.permutation(key, len(A)).numpy() for key in keys]
    edges = [A[order][:, order] for order in orders]
    codes = None
    if setting["encoding"] == "laplacian":
        codes = [laplacian_eigenvectors(E, setting["eigenvectors"]).astype(np.float32) for E in edges]
    graphs = pad(
        [row[order] for row, order in zip(tokens, orders, strict=True)],
        edges,
        [row[order] for row, order in zip(targets, orders, strict=True)],
        codes,
        setting["graph"] == "full",
    )
    return with_arbitrary_signs(graphs, seed, part) if codes and setting["sign"] == "arbitrary" else graphs


def rings(setting: Mapping[str, Any], seed: int, part: str, count: int) -> Graphs:
    """Return ``count`` rings with random tokens; targets are the opposite tokens."""
    n = 2 * setting["distance"]
    drawn = randomness.uniform(randomness.key(seed, f"{part}/tokens"), count * n).view(count, n).numpy()
    tokens = (drawn * TOKENS).astype(np.int64)
    return numbered(setting, seed, part, ring(n), tokens, np.roll(tokens, n // 2, axis=1))


def train_on_own(
    setting: Mapping[str, Any], task: Task, draw: Draw, seeds: Sequence[int], context: Context
) -> Iterator[tuple[Trainer, list[int], Graphs]]:
    """Train each seed on graphs of its own, the schedule on others; yield (trainer, positions, graphs to test on)."""
    train, val, test = (
        join([draw(setting, seed, part, setting[part]) for seed in seeds])
        for part in ("train", "val", "test")
    )
    for trainer, at, _ in run(setting, task, seeds, train, val, context.device, context.work):
        yield trainer, at, test.to(context.device)


def opposite(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train on rings, test on others; accuracy in % of the opposite node's token."""
    for chunk in context.chunks(seeds, 1, largest=TOGETHER):
        for trainer, at, test in train_on_own(setting, TASK, rings, chunk, context):
            accuracy = trainer.evaluate(test)["plain"]
            for i in at:
                yield chunk[i], {"opposite_accuracy": float(accuracy[i])}


def reach(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """How much any output changes, as initialised, if the token of the node opposite does: 0 is no reach at all."""
    for seed in seeds:
        net = build(setting, TASK, seed).eval()
        graphs = rings(setting, seed, "test", 1)
        batch, _ = graphs.batch(torch.tensor([0]))
        A = ring(2 * setting["distance"])
        order = randomness.permutation(randomness.key(seed, "test/order", 0), len(A)).numpy()
        node, other = (int(np.flatnonzero(order == place)[0]) for place in (0, setting["distance"]))
        changed = batch.tokens.clone()
        changed[other] = (changed[other] + 1) % TOKENS
        with torch.no_grad():
            difference = net(batch)[node] - net(batch._replace(tokens=changed))[node]
        yield seed, {"influence": float(difference.abs().max())}


def attention(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train as in :func:`opposite`; the learned attention on one ring the network has not seen.

    One row per number of steps along the ring: the softmax weight that nodes give to the node so far ahead, averaged
    over the ring's nodes, of the head whose weights are the least even.
    """
    n = 2 * setting["distance"]
    for chunk in context.chunks(seeds, 1, largest=TOGETHER):
        for trainer, at, test in train_on_own(setting, TASK, rings, chunk, context):
            batch, _ = test.batch(torch.zeros(len(chunk), 1, dtype=torch.int64, device=context.device))
            for i in at:
                order = randomness.permutation(randomness.key(chunk[i], "test/order", 0), n)
                # place[j] is the number of the j-th node along the ring
                place = order.argsort().to(context.device)
                w = _weights(trainer, i, batch)[:, place][:, :, place].cpu()
                steps = [w[:, torch.arange(n), (torch.arange(n) + s) % n].mean(-1) for s in range(n)]
                ahead = torch.stack(steps, 1)
                sharpest = ahead[int(ahead.amax(1).argmax())]
                yield (
                    chunk[i],
                    [{"steps": s, "attention_weight": float(sharpest[s])} for s in range(n)],
                )


@torch.no_grad()
def _weights(trainer: Trainer, i: int, batch: Batch) -> Tensor:
    """Return the softmax weights (H, n, n) of the i-th seed's first layer on its batch of one graph."""
    net = trainer.network(i)
    h, _ = net.embed(batch._replace(tokens=batch.tokens[i], encoding=batch.encoding[i]))
    (links,) = batch.pairs.links
    (w,) = net.layers[0].weights(h.unsqueeze(0), links[i])
    return w / w.sum(-1, keepdim=True)
