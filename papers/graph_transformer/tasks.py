"""A task that needs a long reach: every node of a ring reports the token of the node opposite.

The checkable form of "each node can attend to any node directly" (Lopez, Fey and Leskovec, "An introduction to graph
transformers", 2025): on a ring of 2 k nodes, message passing with fewer than k layers never sees the node opposite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from papers.graph_transformer.encodings import laplacian_eigenvectors
from papers.graph_transformer.graphs import Graphs, Task, pad
from papers.graph_transformer.training import build, run
from repro import randomness
from repro.context import Context

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]

TOKENS = 4
TASK = Task(tokens=TOKENS, bonds=0, out=TOKENS, roles=3, graph_level=False)


def ring(n: int) -> np.ndarray:
    """Return the adjacency of a ring, bool (n, n): all its eigenvalues but one or two come in pairs."""
    A = np.roll(np.eye(n, dtype=bool), 1, 0)
    return A | A.T


def rings(setting: Mapping[str, Any], seed: int, part: str, count: int) -> Graphs:
    """Return ``count`` rings with random tokens, their nodes numbered at random; targets are the opposite tokens.

    Eigenvectors are computed from each numbered ring, so that the basis within each pair of equal eigenvalues differs
    from ring to ring.
    """
    n = 2 * setting["distance"]
    tokens, edges, targets, codes = [], [], [], []
    for i in range(count):
        order = randomness.permutation(randomness.key(seed, f"{part}/order", i), n).numpy()
        drawn = (randomness.uniform(randomness.key(seed, f"{part}/tokens", i), n) * TOKENS).long().numpy()
        A = ring(n)[order][:, order]
        tokens.append(drawn[order])
        targets.append(np.roll(drawn, n // 2)[order])
        edges.append(A)
        codes.append(laplacian_eigenvectors(A, setting["eigenvectors"]).astype(np.float32))
    with_codes = codes if setting["encoding"] == "laplacian" else None
    return pad(tokens, edges, targets, with_codes, setting["graph"] == "full")


def opposite(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train on rings, test on others; accuracy in % of the opposite node's token."""
    for chunk in context.chunks(seeds, 1, largest=1):
        (seed,) = chunk
        train, test = (rings(setting, seed, part, setting[part]) for part in ("train", "test"))
        ((trainer, _, _),) = run(setting, TASK, [seed], train, test, context.device, context.tick)
        yield seed, {"opposite_accuracy": float(trainer.evaluate(test.to(context.device))["plain"][0])}


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
        changed[0, other] = (changed[0, other] + 1) % TOKENS
        with torch.no_grad():
            difference = net(batch)[0, node] - net(batch._replace(tokens=changed))[0, node]
        yield seed, {"influence": float(difference.abs().max())}


def attention(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train as in :func:`opposite`; the learned attention on one ring the network has not seen.

    One row per number of steps along the ring: the softmax weight that nodes give to the node so far ahead, averaged
    over the ring's nodes, of the head whose weights are the least even.
    """
    n = 2 * setting["distance"]
    for chunk in context.chunks(seeds, 1, largest=1):
        (seed,) = chunk
        train, test = (rings(setting, seed, part, setting[part]) for part in ("train", "test"))
        ((trainer, _, _),) = run(setting, TASK, [seed], train, test, context.device, context.tick)
        net = build(setting, TASK, seed).to(context.device).eval()
        net.load_state_dict(
            {k: x[0] for k, x in {**trainer.ensemble.parameters, **trainer.ensemble.buffers}.items()}
        )
        batch, _ = test.to(context.device).batch(torch.tensor([0], device=context.device))
        order = randomness.permutation(randomness.key(seed, "test/order", 0), n)
        place = order.argsort().to(context.device)  # place[i] is the number of the i-th node along the ring
        with torch.no_grad():
            h, _ = net.embed(batch)
            w = net.layers[0].attention(h, batch.pairs[0])[0]  # type: ignore[operator]
            w = (w / w.sum(-1, keepdim=True))[:, place][:, :, place].cpu()
        ahead = torch.stack([w[:, torch.arange(n), (torch.arange(n) + s) % n].mean(-1) for s in range(n)], 1)
        sharpest = ahead[int(ahead.amax(1).argmax())]
        yield seed, [{"steps": s, "attention_weight": float(sharpest[s])} for s in range(n)]
