"""What is trained for Tables 1 to 3, and on graphs larger than those trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from papers.graph_transformer import trivial
from papers.graph_transformer.graphs import TASKS, Graphs, load
from papers.graph_transformer.training import run
from repro.context import Context

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
) -> Graphs:
    return load(dataset, split, count, full=full, encoding=encoding, eigenvectors=k, root=root, sizes=sizes)


def data(setting: Mapping[str, Any], part: str, root: Path, factor: int = 1) -> Graphs:
    """Return one part of a setting's data; ``factor`` multiplies the sizes of the communities."""
    graphs = _load(
        setting["dataset"],
        part,
        setting[part],
        setting["graph"] == "full",
        setting["encoding"],
        setting["eigenvectors"],
        root,
        (factor * setting.get("smallest_community", 0), factor * setting.get("largest_community", 0)),
    )
    if setting.get("encoding_scale") == "size_free" and setting["encoding"] == "laplacian":
        # Entries of a unit vector shrink as 1/√n; this keeps their spread the same at every size.
        return replace(graphs, encoding=graphs.encoding * graphs.sizes.float().sqrt().view(-1, 1, 1))
    return graphs


def _chunk(device: str) -> int:
    """Seeds at once: on a CPU more bring no speed, on a GPU they share the launches."""
    return 4 if device.startswith("cuda") else 1


def _bytes(setting: Mapping[str, Any], nodes: int) -> float:
    """What one seed needs at its peak, roughly: attention weights, kept for the backward pass; edge streams."""
    pairs = setting["batch"] * nodes**2 * setting["layers"] * 4
    dense = setting["dataset"] == "zinc" or setting["model"] == "gatedgcn"
    return pairs * (16 * setting["width"] if dense else 6 * setting["heads"])


def node_classification(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Tables 1 to 3, PATTERN and CLUSTER: train, then test as the setting's metric says."""
    train, val, test = (data(setting, part, context.root) for part in PARTS)
    nodes = int(train.sizes.max())
    for chunk in context.chunks(seeds, _bytes(setting, nodes), largest=_chunk(context.device)):
        ours = test.to(context.device)
        for trainer, at, _ in run(
            setting, TASKS[setting["dataset"]], chunk, train, val, context.device, context.tick
        ):
            accuracy = trainer.evaluate(ours)[setting["metric"]]
            for i in at:
                yield chunk[i], {"test_accuracy": float(accuracy[i])}


def regression(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Tables 1 to 3, ZINC: train, then the mean absolute error on the test set."""
    train, val, test = (data(setting, part, context.root) for part in PARTS)
    for chunk in context.chunks(seeds, _bytes(setting, 37), largest=_chunk(context.device)):
        ours = test.to(context.device)
        for trainer, at, _ in run(setting, TASKS["zinc"], chunk, train, val, context.device, context.tick):
            error = trainer.evaluate(ours)["mae"]
            for i in at:
                yield chunk[i], {"test_mae": float(error[i])}


def size_transfer(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """PATTERN or CLUSTER: error on graphs whose communities are 1, 2, 4, ... times those trained on.

    With ``trained_on: same_size`` a network is trained at each size: what it reaches is what can be had there.
    ``model: degree`` is the degree threshold, which has nothing to train but its one number.
    """
    factors = [2**i for i in range(setting["largest_factor"].bit_length())]

    def error(trained_at: int, seed: int, tested_at: list[int]) -> dict[int, float]:
        train = data(setting, "train", context.root, trained_at)
        tests = {f: data(setting, "test", context.root, f) for f in tested_at}
        if setting["model"] == "degree":
            threshold = trivial.degree_threshold(train)
            return {
                f: 100 - trivial.degree_accuracy(threshold, test, setting["batch"], "pooled")
                for f, test in tests.items()
            }
        val = data(setting, "val", context.root, trained_at)
        (trainer, _, _), *_ = run(
            setting, TASKS[setting["dataset"]], [seed], train, val, context.device, context.tick
        )
        return {
            f: 100 - float(trainer.evaluate(test.to(context.device))["pooled"]) for f, test in tests.items()
        }

    for chunk in context.chunks(seeds, 1, largest=1):
        (seed,) = chunk
        if setting["trained_on"] == "base":
            errors = error(1, seed, factors)
        else:
            errors = {f: error(f, seed, [f])[f] for f in factors}
        yield seed, [{"size": f, "test_error": max(value, 0.01)} for f, value in errors.items()]
