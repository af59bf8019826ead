"""GAT, GATv2 and GIN on DictionaryLookup, as table look-ups (GATv2 paper, Section 4.1, equations 6 and 7).

What a query sees of a key depends on the query's attribute and on the key's (attribute, value) pair alone, and there
are only k + k² of these. So the attention scores of every edge of every graph are entries of one table ``(k², k)``,
and what a key adds to a query's logits is a row of another. A batch of B graphs then needs B·k² numbers looked up,
where a graph library computes B·k²·128 of them. Nothing is approximated: both give the same logits and gradients.

GIN's sum over keys is the same for all queries of a graph and cannot go further: after its first layer no two graphs
share anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from papers.gat.gin_step import Answer, Hidden
from repro import noise, randomness
from repro.errors import SettingError

WIDTH = 128  # Appendix B.3
SLOPE = 0.2  # of LeakyReLU
BLOCK = 160_000  # scores that stay in a processor's cache from look-up to gradient
PARTS = ("released", "neither", "both")


class Randoms:
    """A seed's initial weights: one stream of random numbers per parameter's name."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def uniform(self, name: str, *shape: int, limit: float) -> nn.Parameter:
        """Uniform in [-limit, limit)."""
        numbers = randomness.uniform(self._key(name), torch.Size(shape).numel())
        return nn.Parameter((2 * numbers - 1).view(shape) * limit)

    def glorot(self, name: str, *shape: int) -> nn.Parameter:
        """Glorot-uniform in the last two dimensions."""
        return self.uniform(name, *shape, limit=(6 / (shape[-2] + shape[-1])) ** 0.5)

    def normal(self, name: str, *shape: int) -> nn.Parameter:
        """Standard normal."""
        return nn.Parameter(noise.normal(self._key(name), *shape))

    def _key(self, name: str) -> Tensor:
        return randomness.key(self.seed, f"dictionary/weights/{name}")


class Lookup(nn.Module):
    """What all models share: two embedding tables, added and passed through ReLU, and a linear map to k logits.

    Attributes:
        keys: ``(k + 1, 128)``, one row per attribute; the last one is never used, but the released code has it.
        values: ``(k + 1, 128)``, one row per value; the last one stands for "none" and is what queries carry.
        out: ``(128, k)``.
    """

    def __init__(self, k: int, random: Randoms) -> None:
        super().__init__()
        self.k = k
        self.keys = random.normal("keys", k + 1, WIDTH)
        self.values = random.normal("values", k + 1, WIDTH)
        self.out = random.uniform("out", WIDTH, k, limit=WIDTH**-0.5)  # torch's default of a linear layer

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Return the features of the k² possible key nodes, row ``k · attribute + value``, and of the k queries."""
        pairs = self.keys[: self.k, None] + self.values[None, : self.k]
        queries = self.keys[: self.k] + self.values[self.k]
        return torch.relu(pairs).flatten(0, 1), torch.relu(queries)

    def logits(self, graphs: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return logits ``(B, k, k)`` by graph, query, value.

        Args:
            graphs: permutations ``(B, k)``.
            keep: ``(B, k, 128)``, factors on the layer's output where the released code drops some of it out.
        """
        raise NotImplementedError

    def loss(self, graphs: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy over all queries of the graphs."""
        return functional.cross_entropy(self.logits(graphs, keep).flatten(0, 1), graphs.flatten())


@dataclass(frozen=True, eq=False)
class Tables:
    """What one step looks up, for H heads of width C = 128 / H. With self-loops, the scores have one more row.

    Attributes:
        scores: ``(k² (+ 1), H, k)`` by key node, head and query, before the softmax; the last row is a query's own.
        features: ``(k² (+ 1), H, C)``, what attention averages; the last row is zero, because a query's own ...
        self_features: ``(k, H, C)`` ... are these; None without self-loops.
    """

    scores: Tensor
    features: Tensor
    self_features: Tensor | None


class Attention(Lookup):
    """One layer of attention, GAT (equation 6) or GATv2 (equation 7), heads concatenated.

    Args:
        kind: ``gat`` or ``gatv2``.
        k: keys per graph.
        heads: H; each has width 128 / H.
        parts: ``released``: GAT with self-loops and a bias, GATv2 with neither, as in the released code; or
            ``neither`` or ``both`` for either model.
        seed: of the initial weights.

    Raises:
        SettingError: if the heads do not divide the width, or for an unknown kind or parts.
    """

    def __init__(self, kind: str, k: int, heads: int, parts: str, seed: int) -> None:
        if heads < 1 or WIDTH % heads:
            raise SettingError(
                f"heads={heads}: the heads share the width {WIDTH} evenly; take a divisor of it"
            )
        if kind not in ("gat", "gatv2") or parts not in PARTS:
            raise SettingError(
                f"model={kind}, parts={parts}: take gat or gatv2, and one of {', '.join(PARTS)}"
            )
        random = Randoms(seed)
        super().__init__(k, random)
        self.self_loops = parts == "both" or (parts == "released" and kind == "gat")
        shape = (heads, WIDTH // heads)
        self.W = random.glorot("W", WIDTH, WIDTH)
        self.a = random.glorot("a", *shape)
        self.a_query = random.glorot("a_query", *shape) if kind == "gat" else None
        self.bias = nn.Parameter(torch.zeros(WIDTH)) if self.self_loops else None

    def tables(self) -> Tables:
        """Return the tables for the present weights."""
        keys, queries = ((x @ self.W).unflatten(-1, self.a.shape) for x in self.nodes())
        scores = self._scores(keys, queries)
        if not self.self_loops:
            return Tables(scores, keys, None)
        own = self._own_scores(queries).T.unsqueeze(0)
        return Tables(torch.cat([scores, own]), torch.cat([keys, torch.zeros_like(keys[:1])]), queries)

    def _scores(self, keys: Tensor, queries: Tensor) -> Tensor:
        """Return the scores ``(n, H, q)`` of transformed features ``(n, H, C)`` and ``(q, H, C)``."""
        if self.a_query is not None:  # equation 6: LeakyReLU(a1·Wk + a2·Wq)
            of_keys, of_queries = (keys * self.a).sum(-1), (queries * self.a_query).sum(-1)
            return functional.leaky_relu(of_keys.unsqueeze(-1) + of_queries.T, SLOPE)
        # Equation 7: a·LeakyReLU(Wk + Wq): k³·128 numbers, a few queries at a time so that they stay in a cache.
        blocks = queries.split(max(1, 2**21 // keys.numel()))
        if len(blocks) == 1:
            return _gatv2_scores(keys, queries, self.a)
        parts = [checkpoint(_gatv2_scores, keys, block, self.a, use_reentrant=False) for block in blocks]
        return torch.cat(parts, -1)

    def _own_scores(self, queries: Tensor) -> Tensor:
        """Return the scores ``(q, H)`` of queries ``(q, H, C)`` that attend to themselves."""
        if self.a_query is not None:
            return functional.leaky_relu((queries * (self.a + self.a_query)).sum(-1), SLOPE)
        return (functional.leaky_relu(2 * queries, SLOPE) * self.a).sum(-1)

    def _rows(self, graphs: Tensor) -> Tensor:
        """Return the table rows that the graphs' queries attend to: ``(B, k (+ 1))``."""
        rows = graphs + self.k * torch.arange(self.k, device=graphs.device)
        return functional.pad(rows, (0, 1), value=self.k**2) if self.self_loops else rows

    def attention(self, graphs: Tensor) -> Tensor:
        """Return each query's attention ``(B, k (+ 1), H, k)`` to the keys and, with self-loops, last to itself."""
        return self.tables().scores[self._rows(graphs)].softmax(1)

    def logits(self, graphs: Tensor, keep: Tensor | None = None) -> Tensor:
        """See :meth:`Lookup.logits`."""
        if keep is None:
            return _look_up(*self._contributions(), self._rows(graphs))[2].transpose(1, 2)
        tables = self.tables()
        alpha = tables.scores[self._rows(graphs)].softmax(1)
        h = torch.einsum("nkhq,nkhc->nqhc", alpha, tables.features[self._rows(graphs)])
        if tables.self_features is not None:
            h = h + torch.einsum("nhq,qhc->nqhc", alpha[:, -1], tables.self_features)
        h = h.flatten(2) if self.bias is None else h.flatten(2) + self.bias
        return (h * keep) @ self.out

    def loss(self, graphs: Tensor, keep: Tensor | None = None) -> Tensor:
        """See :meth:`Lookup.loss`; without dropout, in blocks that fit a cache."""
        if keep is not None:
            return super().loss(graphs, keep)
        return _LookupLoss.apply(*self._contributions(), self._rows(graphs), graphs)

    def _contributions(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return the scores, and what a key, a self-loop and the bias add to the logits: the features times ``out``."""
        tables, out = self.tables(), self.out.unflatten(0, self.a.shape)
        values = torch.einsum("nhc,hco->nho", tables.features, out).contiguous()  # its rows are looked up
        if tables.self_features is None or self.bias is None:
            return tables.scores, values, None, None
        return (
            tables.scores,
            values,
            torch.einsum("qhc,hco->qho", tables.self_features, out),
            self.bias @ self.out,
        )


def _gatv2_scores(keys: Tensor, queries: Tensor, a: Tensor) -> Tensor:
    pairs = functional.leaky_relu(keys.unsqueeze(1) + queries, SLOPE)  # (n, q, H, C)
    return torch.einsum("nqhc,hc->nhq", pairs, a)


def _look_up(
    scores: Tensor, values: Tensor, own: Tensor | None, offset: Tensor | None, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return attention ``(B, keys, H, k)``, the keys' contributions ``(B, keys, H, k)`` and logits by value and query.

    Args:
        scores: ``(n, H, k)``.
        values: ``(n, H, k)``, what each key node adds to the logits at full attention.
        own: ``(k, H, k)``, the same of each query's self-loop, whose row of ``values`` is zero.
        offset: ``(k,)``, what the bias adds.
        rows: ``(B, keys)`` of ``scores`` and ``values``.
    """
    shape = (*rows.shape, *scores.shape[1:])
    alpha = scores.flatten(1).index_select(0, rows.flatten()).view(*rows.shape, -1).softmax(1)
    looked_up = values.flatten(1).index_select(0, rows.flatten()).view(shape)
    alpha = alpha.view(shape)
    # Values first: a softmax over the middle one of three dimensions is three times as fast as over a short last one.
    logits = torch.bmm(looked_up.flatten(1, 2).transpose(1, 2), alpha.flatten(1, 2))
    if own is not None:
        logits = logits + torch.einsum("nhq,qho->noq", alpha[:, -1], own)
    return alpha, looked_up, logits if offset is None else logits + offset.unsqueeze(-1)


class _LookupLoss(torch.autograd.Function):
    """Mean cross-entropy of :func:`_look_up`'s logits, with its gradient on the way, block by block.

    Autograd would hold every intermediate of the batch and pass each several times through memory; a block of graphs
    stays in a processor's cache, and the tables' gradients are small.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        values: Tensor,
        own: Tensor | None,
        offset: Tensor | None,
        rows: Tensor,
        graphs: Tensor,
    ) -> Tensor:
        d_scores, d_values = torch.zeros_like(scores), torch.zeros_like(values)
        d_own = None if own is None else torch.zeros_like(own)
        d_offset = None if offset is None else torch.zeros_like(offset)
        total = scores.new_zeros(())
        size = max(1, BLOCK // (rows.shape[1] * scores[0].numel()))
        for r, labels in zip(rows.split(size), graphs.unsqueeze(1).split(size), strict=True):
            alpha, looked_up, logits = _look_up(scores, values, own, offset, r)
            log_p = logits.log_softmax(1)
            total -= log_p.gather(1, labels).sum()
            d_logits = log_p.exp_().scatter_add_(1, labels, log_p.new_full(labels.shape, -1.0))
            d_logits /= graphs.numel()
            d_alpha = torch.bmm(looked_up.flatten(1, 2), d_logits).view_as(alpha)
            if own is not None and d_own is not None:
                d_alpha[:, -1] += torch.einsum("noq,qho->nhq", d_logits, own)
                d_own += torch.einsum("noq,nhq->qho", d_logits, alpha[:, -1])
            if d_offset is not None:
                d_offset += d_logits.sum((0, 2))
            d_looked_up = torch.bmm(alpha.flatten(1, 2), d_logits.transpose(1, 2)).view_as(looked_up)
            d_values.index_add_(0, r.flatten(), d_looked_up.flatten(0, 1))
            d_alpha -= (alpha * d_alpha).sum(1, keepdim=True)
            d_scores.index_add_(0, r.flatten(), d_alpha.mul_(alpha).flatten(0, 1))
        ctx.save_for_backward(d_scores, d_values, d_own, d_offset)
        return total / graphs.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(None if d is None else grad * d for d in ctx.saved_tensors), None, None)


class GIN(Lookup):
    """h_q = MLP(x_q + sum of the keys), MLP = (linear, batch normalisation, ReLU) twice.

    Batch normalisation takes its statistics over all nodes of a batch. Key nodes have no neighbours, so at most k² of
    them differ: they enter with their number of occurrences.
    """

    def __init__(self, k: int, seed: int) -> None:
        random = Randoms(seed)
        super().__init__(k, random)
        self.W = nn.ParameterList(random.uniform(f"W{i}", WIDTH, WIDTH, limit=WIDTH**-0.5) for i in range(2))
        self.b = nn.ParameterList(random.uniform(f"b{i}", WIDTH, limit=WIDTH**-0.5) for i in range(2))
        self.norm_1, self.norm_2 = nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)

    def logits(self, graphs: Tensor, keep: Tensor | None = None) -> Tensor:
        """See :meth:`Lookup.logits`."""
        h, scale, shift = self._hidden(graphs)
        h = torch.relu(torch.addcmul(shift, h, scale))
        return (h if keep is None else h * keep) @ self.out

    def loss(self, graphs: Tensor, keep: Tensor | None = None) -> Tensor:
        """See :meth:`Lookup.loss`; without dropout, in blocks that fit a cache."""
        if keep is not None:
            return super().loss(graphs, keep)
        return Answer.apply(*self._hidden(graphs), self.out, graphs, BLOCK)

    def _hidden(self, graphs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the second linear layer's output ``(B, k, 128)``, and how to normalise it: factor and shift."""
        rows = graphs + self.k * torch.arange(self.k, device=graphs.device)
        pairs, queries = (x @ self.W[0] for x in self.nodes())
        sums = functional.embedding_bag(rows, pairs, mode="sum")
        pairs, queries = pairs + self.b[0], queries + self.b[0]
        count = torch.bincount(rows.flatten(), minlength=self.k**2).to(pairs.dtype)
        # Every query meets every graph's sum once: the variance of their sums is the sum of their variances.
        (var_q, mean_q), (var_s, mean_s) = (torch.var_mean(x, 0, correction=0) for x in (queries, sums))
        scale, shift = self._affine(self.norm_1, pairs, count, var_q + var_s, mean_q + mean_s)
        h, var, mean = Hidden.apply(queries * scale + shift, sums * scale, self.W[1], self.b[1], BLOCK)
        pairs = torch.relu(pairs * scale + shift) @ self.W[1] + self.b[1]
        return h, *self._affine(self.norm_2, pairs, count, var, mean)

    def _affine(
        self, norm: nn.BatchNorm1d, pairs: Tensor, count: Tensor, var: Tensor, mean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return factor and shift of a batch normalisation; in training, of this batch, whose moments are noted.

        Args:
            norm: holds gain, offset and running moments.
            pairs: what the k² key nodes have to be normalised, ``count`` times each.
            count: adds up to the number n of queries.
            var, mean: over the n queries.
        """
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.momentum is not None
        if self.training:
            n = count.sum()
            together = (mean + count @ pairs / n) / 2
            var = (var + (mean - together).square() + count @ (pairs - together).square() / n) / 2
            mean = together
            with torch.no_grad():
                norm.running_mean.lerp_(mean, norm.momentum)
                norm.running_var.lerp_(var * 2 * n / (2 * n - 1), norm.momentum)
        else:
            var, mean = norm.running_var, norm.running_mean
        scale = norm.weight * torch.rsqrt(var + norm.eps)
        return scale, norm.bias - mean * scale


MODELS = ("gat", "gatv2", "gin")


def build(model: str, k: int, heads: int, parts: str, seed: int) -> Lookup:
    """Return a model by name, with initial weights of ``seed``: see :class:`Attention` and :class:`GIN`.

    Raises:
        SettingError: for an unknown name, or heads that do not divide the width.
    """
    if model not in MODELS:
        raise SettingError(f"model={model}: take one of {', '.join(MODELS)}")
    return GIN(k, seed) if model == "gin" else Attention(model, k, heads, parts, seed)
