"""DictionaryLookup by the protocol of the GATv2 paper (Section 4.1, Appendix B.3), and what attention it learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from papers.gat.dictionary import Dictionary
from papers.gat.dictionary import dictionary as graphs_of
from papers.gat.lookup_model import WIDTH, Attention, Lookup, build
from repro import randomness
from repro.context import Context, Work

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]

GAIN = 1e-4  # in accuracy: what less than this counts as no improvement


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run ends with: the model, and what was measured at the selected check and on the way.

    ``accuracies`` holds a share for each part of the graphs, at the selected check. ``best_train`` is the highest
    training accuracy at any check, ``passes`` the number of passes run, ``selected`` after which of them.
    """

    model: Lookup
    graphs: Dictionary
    accuracies: dict[str, float]
    best_train: float
    passes: int
    selected: int


class AlwaysOn:
    """Dropout on the layer's output as the released code has it: with p = 0.5 and in evaluation as well; or none."""

    def __init__(self, switch: str, seed: int) -> None:
        self.p, self.seed = {"none": 0.0, "always_on": 0.5}[switch], seed

    def keep(self, stream: str, step: int, graphs: Tensor) -> Tensor | None:
        """Return factors ``(B, k, 128)`` on the queries' features; None without dropout."""
        if not self.p:
            return None
        key = randomness.key(self.seed, f"dictionary/dropout/{stream}", step).to(graphs.device)
        mask = randomness.keep_mask(key, graphs.numel() * WIDTH, self.p)
        return mask.view(*graphs.shape, WIDTH).float() * randomness.keep_scale(self.p)


@torch.no_grad()
def accuracy(model: Lookup, graphs: Tensor, batch: int, dropout: AlwaysOn, stream: str, step: int) -> float:
    """Return the share of queries that the model answers rightly."""
    model.eval()
    right = 0
    for i, part in enumerate(graphs.split(batch)):
        keep = dropout.keep(f"{stream}/{i}", step, part)
        right += int((model.logits(part, keep).argmax(-1) == part).sum())
    return right / graphs.numel()


@contextmanager
def without_denormals() -> Iterator[None]:
    """Take numbers below 1e-38 for zero, on a processor.

    Attention that has made up its mind is full of them, and a processor takes three times as long over each. They are
    too small to change a weight: Adam adds 1e-8 to the size of a gradient.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@without_denormals()
def train(setting: Mapping[str, Any], seed: int, device: str = "cpu", work: Work | None = None) -> Trained:
    """Train one seed until it answers everything rightly, or has not got better for 20 checks.

    As in the released code, a check comes after ``check_every`` passes, whose graphs are shuffled together; the best
    check is that of the highest accuracy on the graphs that ``selection`` names; the learning rate is halved after
    11 checks without a gain, and the gradient's norm is clipped. Training accuracy is measured after the passes (the
    released code takes the mean on the way).

    One seed at a time: from k = 8 on, where the time goes, a step's arithmetic outweighs its overhead, and a seed
    that stops costs the others nothing.

    Args:
        setting: see the ``dictionary`` experiment in ``paper.yaml``.
        seed: of graphs, split, weights and order.
        device: ``cpu`` or ``cuda``.
        work: takes the share of the most passes that have been run, and keeps the state.
    """
    work = work or Work()
    k, every, size = setting["k"], setting["check_every"], setting["batch"]
    data = graphs_of(k, seed, setting["selection"] == "validation")
    parts = {"train": data.train.to(device), "test": data.test.to(device)}
    if data.validation is not None:
        parts["validation"] = data.validation.to(device)
    model = build(setting["model"], k, setting["heads"], setting["parts"], seed).to(device)
    dropout = AlwaysOn(setting["dropout"], seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=setting["learning_rate"], fused=True)
    scheduler = ReduceLROnPlateau(
        optimizer, "max", factor=0.5, patience=10, threshold=GAIN, threshold_mode="abs"
    )
    best, best_train, selected, waited, step, check = dict.fromkeys(parts, -1.0), 0.0, 0, 0, 0, 0
    ended = False

    def state() -> dict[str, Any]:
        return {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "progress": [best, best_train, selected, waited, step, check, ended],
        }

    if saved := work.checkpoint.load():
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        best, best_train, selected, waited, step, check, ended = saved["progress"]
    while not ended and check < setting["max_passes"] // every:
        check += 1
        key = randomness.key(seed, "dictionary/order", check)
        order = randomness.permutation(key, every * len(data.train)).to(device) % len(data.train)
        model.train()
        for chosen in order.split(size):
            graphs = parts["train"][chosen]
            optimizer.zero_grad()
            model.loss(graphs, dropout.keep("training", step, graphs)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), setting["clip"])
            optimizer.step()
            step += 1
        now = {part: accuracy(model, graphs, size, dropout, part, check) for part, graphs in parts.items()}
        best_train = max(best_train, now["train"])
        metric = now[setting["selection"]]
        if metric > best[setting["selection"]] + GAIN:
            best, selected, waited = now, check * every, 0
        else:
            waited += 1
        scheduler.step(metric)
        ended = metric == 1.0 or waited >= setting["patience"]
        work.checkpoint.save(state, ended)
        work.tick(check * every / setting["max_passes"])
    return Trained(model.eval(), data, best, best_train, check * every, selected)


def dictionary(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Figures 3 and 6: accuracy on training graphs and on graphs with pairs never seen, at one size k."""
    for seed in (seed for chunk in context.chunks(seeds, 1, largest=1) for seed in chunk):
        run = train(setting, seed, context.device, context.work)
        yield (
            seed,
            {
                "train_accuracy": 100 * run.accuracies["train"],
                "test_accuracy": 100 * run.accuracies["test"],
                "train_error": 100 * (1 - run.accuracies["train"]),
                "test_error": 100 * (1 - run.accuracies["test"]),
                "best_train_accuracy": 100 * run.best_train,
                "best_train_error": 100 * (1 - run.best_train),
                "passes": float(run.passes),
            },
        )


def ranking(scores: Tensor) -> tuple[int, int]:
    """Return how many pairs of queries rank keys differently, and how many keys some query likes best.

    Two queries rank keys differently if there are two keys of which one query scores the first higher and the other
    the second; equal scores contradict nothing.

    Args:
        scores: ``(keys, queries)``.
    """
    higher = scores.unsqueeze(1) > scores  # (key, key, query)
    different = torch.einsum("ijq,jir->qr", higher.double(), higher.double()) > 0
    return int(different.sum()) // 2, len(set(scores.argmax(0).tolist()))


def _attention_model(setting: Mapping[str, Any], seed: int, context: Context) -> tuple[Attention, Dictionary]:
    if setting["weights"] == "initial":
        model: Lookup = build(setting["model"], setting["k"], setting["heads"], setting["parts"], seed)
        data = graphs_of(setting["k"], seed)
    else:
        run = train(setting, seed, context.device, context.work)
        model, data = run.model.cpu(), run.graphs
    assert isinstance(model, Attention)
    return model, data


@torch.no_grad()
def attention_ranking(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Static or dynamic attention: whether all queries rank all k² key nodes alike; a row per head."""
    for seed in (seed for chunk in context.chunks(seeds, 1, largest=1) for seed in chunk):
        with torch.enable_grad():
            model, _ = _attention_model(setting, seed, context)
        rows: list[dict[str, float]] = []
        for head, scores in enumerate(model.tables().scores[: model.k**2].unbind(1)):
            pairs, favourites = ranking(scores)
            alike = float(pairs == 0)
            rows.append(
                {"head": head, "reordered_pairs": pairs, "favourite_keys": favourites, "ranks_alike": alike}
            )
        yield seed, rows


@torch.no_grad()
def attention_map(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Figure 1: how much each query attends to each key of a test graph; rows by 100 · query + key.

    ``misplaced`` is by how much a key receives more of a query's attention than the query's own key does.
    """
    for seed in (seed for chunk in context.chunks(seeds, 1, largest=1) for seed in chunk):
        with torch.enable_grad():
            model, data = _attention_model(setting, seed, context)
        attention = model.attention(data.test[:1])[0, : model.k].mean(1).T  # (query, key), mean of the heads
        own = attention.diagonal().unsqueeze(1)
        yield (
            seed,
            [
                {
                    "pair": 100 * q + key,
                    "attention": float(attention[q, key]),
                    "misplaced": max(0.0, float((attention - own)[q, key])),
                }
                for q in range(model.k)
                for key in range(model.k)
            ],
        )
