"""What holds, or not, of networks as initialised: structure-blindness, ambiguity, smoothing, cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from papers.graph_transformer.baselines import GCNLayer
from papers.graph_transformer.encodings import community_share, laplacian_eigenvectors, with_sign
from papers.graph_transformer.graphs import TASKS, Graphs, pad
from papers.graph_transformer.model import (
    Batch,
    Blocks,
    Design,
    GraphTransformerLayer,
    Network,
    apart,
    graph_transformer,
    initialise,
)
from papers.graph_transformer.tasks import ring
from repro import randomness
from repro.context import Context
from repro.data import sbm

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]

SMALL = (5, 12)  # communities of the graphs of the first two


def _network(setting: Mapping[str, Any], seed: int) -> Network:
    design = Design(
        TASKS["cluster"], 32, setting["layers"], 4, setting["encoding"], setting["eigenvectors"], "layer"
    )
    return graph_transformer(design, seed)


def structure_blindness(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """By how much the output of full attention changes, relatively, if a graph's edges are replaced by others.

    The other edges are those of a random graph of the same density; tokens stay.
    """
    for seed in seeds:
        g = sbm.graph("cluster", "test", seed, sizes=SMALL)
        n = len(g.labels)
        draws = randomness.uniform(randomness.key(seed, "rewired"), n * n).view(n, n).triu(1).numpy()
        other = (draws > 0) & (draws < g.adjacency.mean())
        net = _network(setting, seed).eval()
        outputs = []
        for A in (g.adjacency, other | other.T):
            code = None
            if setting["encoding"] == "laplacian":
                code = [laplacian_eigenvectors(A, setting["eigenvectors"]).astype(np.float32)]
            graphs = pad([g.features], [A], [g.labels], code, setting["graph"] == "full")
            with torch.no_grad():
                outputs.append(net(graphs.batch(torch.tensor([0]))[0]))
        yield seed, {"output_change": _relative(*outputs)}


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / a.norm())


def ambiguity(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """By how much the output changes if a ring is given by another, equally valid, set of eigenvectors.

    ``permutation``: the nodes are numbered otherwise and nothing else, which must change nothing. ``sign``: each
    eigenvector gets a random sign. ``basis``: each pair of equal eigenvalue is rotated by a random angle.
    """
    k, n = setting["eigenvectors"], 16
    A = ring(n)
    V = torch.from_numpy(with_sign(laplacian_eigenvectors(A, k))).float()
    for seed in seeds:
        net = _network({**setting, "encoding": "laplacian"}, seed).eval()
        tokens = randomness.permutation(randomness.key(seed, "tokens"), n) % 7
        u = randomness.uniform(randomness.key(seed, "change"), k)
        order, changed = torch.arange(n), V
        if setting["change"] == "permutation":
            order = randomness.permutation(randomness.key(seed, "order"), n)
        elif setting["change"] == "sign":
            changed = V * torch.where(u < 0.5, -1.0, 1.0)
            changed[:, 0] = -V[:, 0]  # one at least
        else:
            pairs = []
            for j in range(0, k - 1, 2):
                c, s = torch.cos(2 * torch.pi * u[j]), torch.sin(2 * torch.pi * u[j])
                pairs += [c * V[:, j] - s * V[:, j + 1], s * V[:, j] + c * V[:, j + 1]]
            changed = torch.stack(pairs, 1)
        with torch.no_grad():
            before = net(_one(tokens, A, V))
            after = net(_one(tokens[order], A[order][:, order], changed[order]))
        yield seed, {"output_change": _relative(before[order], after)}


def _one(tokens: Tensor, A: np.ndarray, encoding: Tensor) -> Batch:
    graphs: Graphs = pad(
        [tokens.numpy()], [A], [np.zeros(len(A), dtype=np.int64)], [encoding.numpy()], full=True
    )
    return graphs.batch(torch.tensor([0]))[0]


def smoothing(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The Dirichlet energy of the node states, Σ_c h_c·L h_c / Σ_c |h_c|², after each layer of a deep network.

    L is the symmetric normalised Laplacian, so that 0 means equal states (up to the square root of the degree) and
    the mean over random states is 1. ``model``: ``gt``, ``gcn`` with its residual connection, ``gcn_plain`` without.
    """
    width, depth = setting["width"], setting["depth"]
    for seed in seeds:
        drawn = [sbm.graph("cluster", "train", 8 * seed + i) for i in range(8)]
        # As a batch orders them: S below has to be in the same order.
        drawn.sort(key=lambda g: -len(g.labels))
        graphs = pad(
            [g.features for g in drawn],
            [g.adjacency for g in drawn],
            [g.labels for g in drawn],
            None,
            setting["graph"] == "full",
        )
        batch, _ = graphs.batch(torch.arange(8))
        links = (graphs.edges > 0).float()
        degree = links.sum(-1).clamp(min=1).rsqrt()
        S = degree.unsqueeze(-1) * links * degree.unsqueeze(-2)
        embedding = nn.Embedding(7, width)
        layers = nn.ModuleList(
            GraphTransformerLayer(width, 8, "batch", "before_exp")
            if setting["model"] == "gt"
            else GCNLayer(width)
            for _ in range(depth)
        )
        net = nn.ModuleDict({"embedding": embedding, "layers": layers})
        initialise(net, seed)
        rows = []
        with torch.no_grad():
            h = embedding(batch.tokens)
            for number in range(depth + 1):
                if number:
                    out, _ = layers[number - 1](h, h, batch.pairs, batch.nodes)
                    h = out - h if setting["model"] == "gcn_plain" else out
                own = apart(h, batch.pairs)
                energy = (own * (own - S @ own)).sum() / own.square().sum()
                rows.append({"layer": number, "dirichlet_energy": float(energy)})
        yield seed, rows
        context.tick((seed + 1) / len(seeds))


def cost(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Seconds of a forward and backward pass of one layer of full attention on one graph of N nodes."""
    sizes = [256 * 2**i for i in range(int(np.log2(setting["largest"] / 256)) + 1)]
    for seed in (seed for chunk in context.chunks(seeds, 1, largest=1) for seed in chunk):
        layer = GraphTransformerLayer(64, 4, "layer", "before_exp").to(context.device)
        rows = []
        for n in sizes:
            h = torch.randn(n, 64, device=context.device, requires_grad=True)
            others = (1 - torch.eye(n, device=context.device)).unsqueeze(0)
            pairs = Blocks(torch.arange(n, device=context.device), (others,))
            nodes = torch.ones(n, device=context.device)
            times = []
            for _ in range(setting["repeats"] + 1):
                started = time.perf_counter()
                layer(h, h, pairs, nodes)[0].sum().backward()
                if context.device.startswith("cuda"):
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - started)
            rows.append({"nodes": n, "layer_seconds": float(np.median(times[1:]))})
            context.tick(len(rows) / len(sizes))
        yield seed, rows


def eigenvector_content(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """How much of each eigenvector's variance over a graph's nodes lies between communities; a seed is a graph."""
    for seed in seeds:
        g = sbm.graph("cluster", "train", seed)
        V = laplacian_eigenvectors(g.adjacency, setting["eigenvectors"])
        content = community_share(V, g.communities)
        yield seed, [{"eigenvector": j + 2, "community_share": float(x)} for j, x in enumerate(content)]
