"""What is trained for Tables 1 to 3, and on graphs larger than those trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from papers.graph_transformer import trivial
from papers.graph_transformer.graphs import TASKS, Graphs, join, load
from papers.graph_transformer.training import TOGETHER, Trainer, run
from repro.context import Context, Work

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]

PARTS = ("train", "val", "test")


@lru_cache(maxsize=9)  # the arms of a table read the same graphs
def _load(
    dataset: str,
    split: str,
    count: int,
    full: bool,
    encoding: str,
    k: int,
    root: Path,
    sizes: tuple[int, int],
    sign: str,
) -> Graphs:
    return load(
        dataset, split, count, full=full, encoding=encoding, eigenvectors=k, root=root, sizes=sizes, sign=sign
    )


def data(setting: Mapping[str, Any], part: str, root: Path) -> Graphs:
    """Return one part of the data of a table's setting; all seeds share it, as in the paper."""
    return _load(
        setting["dataset"],
        part,
        setting[part],
        setting["graph"] == "full",
        setting["encoding"],
        setting["eigenvectors"],
        root,
        (setting.get("smallest_community", 0), setting.get("largest_community", 0)),
        setting["sign"],
    )


def _edge_stream(setting: Mapping[str, Any]) -> bool:
    return setting["model"] == "gatedgcn" or (setting["model"] == "gt" and setting["dataset"] == "zinc")


def _together(setting: Mapping[str, Any], device: str) -> int:
    """How many seeds are stacked at most. On a processor an edge stream goes alone: it gains nothing from others."""
    return 1 if device == "cpu" and _edge_stream(setting) else TOGETHER


def peak_bytes(setting: Mapping[str, Any], nodes: int, edges: float) -> float:
    """Return what one seed needs at its peak, roughly, with so many nodes and edges per graph.

    In each layer that is what its backward pass reads: states of nodes and, with an edge stream, of edges, and of GAT
    the weights between all nodes. All layers have the pairs of nodes in common, which are gathered as bytes first.
    """
    states = nodes + edges if _edge_stream(setting) else nodes
    weights = 6 * setting["heads"] * nodes**2 if setting["model"] == "gat" else 0
    layers = setting["layers"] * (16 * setting["width"] * states + weights)
    return 4 * setting["batch"] * (layers + 2 * nodes**2)


def _train(
    setting: Mapping[str, Any], seeds: Sequence[int], context: Context, measure: str, name: str
) -> Rows:
    """Train on a table's data and yield ``measure`` on the test part as the quantity ``name``."""
    train, val, test = (data(setting, part, context.root) for part in PARTS)
    need = peak_bytes(setting, train.tokens.shape[1], train.mean_edges)
    for chunk in context.chunks(seeds, need, largest=_together(setting, context.device)):
        ours = test.to(context.device)
        task = TASKS[setting["dataset"]]
        for trainer, at, _ in run(setting, task, chunk, train, val, context.device, context.work):
            found = trainer.evaluate(ours)[measure]
            for i in at:
                yield chunk[i], {name: float(found[i])}


def node_classification(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Tables 1 to 3, PATTERN and CLUSTER: train, then test as the setting's metric says."""
    return _train(setting, seeds, context, setting["metric"], "test_accuracy")


def regression(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Tables 1 to 3, ZINC: train, then the mean absolute error on the test set.

    ``model: median`` predicts the training part's median, which is what can be had without a look at the molecule.
    """
    if setting["model"] != "median":
        yield from _train(setting, seeds, context, "mae", "test_mae")
        return
    train, test = (data(setting, part, context.root).targets for part in ("train", "test"))
    for seed in seeds:
        yield seed, {"test_mae": float((test - train.median()).abs().mean())}


def sized(setting: Mapping[str, Any], part: str, seed: int, factor: int, root: Path) -> Graphs:
    """Return one part of a seed's own graphs, their communities ``factor`` times as large as the setting says.

    No part has a pattern of another: larger graphs have new ones, and only at the training sizes they would be known.
    """
    graphs = load(
        setting["dataset"],
        part,
        setting[part],
        full=setting["graph"] == "full",
        encoding=setting["encoding"],
        eigenvectors=setting["eigenvectors"],
        root=root,
        sizes=(factor * setting["smallest_community"], factor * setting["largest_community"]),
        seed=seed,
        sign=setting["sign"],
        shared_patterns=False,
    )
    if setting["encoding_scale"] == "unit" or setting["encoding"] != "laplacian":
        return graphs
    # Entries of a unit vector shrink as 1/√n; this keeps their spread the same at every size.
    return replace(graphs, encoding=graphs.encoding * graphs.sizes.float().sqrt().view(-1, 1, 1))


def _degree_errors(
    setting: Mapping[str, Any], seed: int, trained_at: int, tested_at: Sequence[int], root: Path
) -> dict[int, float]:
    threshold = trivial.degree_threshold(sized(setting, "train", seed, trained_at, root))
    tests = {f: sized(setting, "test", seed, f, root) for f in tested_at}
    return {
        f: max(100 - trivial.degree_accuracy(threshold, test, setting["batch"], "pooled"), 0.01)
        for f, test in tests.items()
    }


Errors = Callable[[Sequence[Graphs]], list[float]]
"""Takes each seed's own graphs to test on and returns, in %, the errors of the seeds that have ended."""


def errors_of_trained(
    setting: Mapping[str, Any], seeds: Sequence[int], factor: int, context: Context, work: Work
) -> Iterator[tuple[Errors, list[int]]]:
    """Train each seed on its own graphs; yield, as seeds end, (what tells their errors, their positions)."""
    train, val = (
        join([sized(setting, part, seed, factor, context.root) for seed in seeds])
        for part in ("train", "val")
    )
    for trainer, at, _ in run(setting, TASKS[setting["dataset"]], seeds, train, val, context.device, work):

        def errors(graphs: Sequence[Graphs], trainer: Trainer = trainer, at: list[int] = at) -> list[float]:
            accuracy = trainer.evaluate(join(graphs).to(context.device))["pooled"]
            # An error of nothing has no ratio to another.
            return [max(100 - float(accuracy[i]), 0.01) for i in at]

        yield errors, at


def _network_errors(
    setting: Mapping[str, Any],
    seeds: Sequence[int],
    trained_at: int,
    tested_at: Sequence[int],
    context: Context,
    work: Work,
) -> list[dict[int, float]]:
    found: list[dict[int, float]] = [{} for _ in seeds]
    for errors, at in errors_of_trained(setting, seeds, trained_at, context, work):
        for f in tested_at:
            graphs = [sized(setting, "test", seed, f, context.root) for seed in seeds]
            for i, error in zip(at, errors(graphs), strict=True):
                found[i][f] = error
    return found


def size_transfer(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """PATTERN or CLUSTER: error on graphs whose communities are 1, 2, 4, ... times those trained on.

    Each seed draws its own graphs to train, validate and test on. With ``trained_on: same_size`` a network is trained
    at each size: what it reaches is what can be had there. ``model: degree`` is the degree threshold, which has nothing
    to train but its one number.
    """
    factors = [2**i for i in range(setting["largest_factor"].bit_length())]
    runs = [(1, factors)] if setting["trained_on"] == "base" else [(f, [f]) for f in factors]
    trained, tested = (6 * f * setting["largest_community"] for f in (runs[-1][0], factors[-1]))
    # Each seed's own graphs, a byte per pair of nodes, are there twice while they are put beside other seeds'.
    need = max(
        peak_bytes(setting, trained, trained**2) + 2 * (setting["train"] + setting["val"]) * trained**2,
        peak_bytes({**setting, "layers": 1}, tested, tested**2) + 2 * setting["test"] * tested**2,
    )
    rule = setting["model"] == "degree"
    for chunk in context.chunks(seeds, need, largest=1 if rule else _together(setting, context.device)):
        errors: list[dict[int, float]] = [{} for _ in chunk]
        for i, (trained_at, tested_at) in enumerate(runs):
            found = (
                [_degree_errors(setting, seed, trained_at, tested_at, context.root) for seed in chunk]
                if rule
                else _network_errors(
                    setting, chunk, trained_at, tested_at, context, context.work.part(i, len(runs))
                )
            )
            for mine, new in zip(errors, found, strict=True):
                mine.update(new)
        for seed, mine in zip(chunk, errors, strict=True):
            yield seed, [{"size": f, "test_error": value} for f, value in mine.items()]
