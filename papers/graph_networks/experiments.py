"""Interaction Networks (1612.00222): next velocities and potential energy, at the training size and at others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from papers.graph_networks.domains import STEPS, TRAINED, Pairs, pairs
from papers.graph_networks.model import Flat, InteractionNetwork
from papers.graph_networks.training import Plateau, Rows, Sizes, by_size, draw, each, fit, on, whole
from repro import randomness
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.nn.topology import Incidence
from repro.physics import nbody

TESTED = {"nbody": (3, 6, 9, 12, 16, 24), "balls": (3, 6, 9), "string": (5, 15, 30)}
SAME_SIZE = {"nbody": (3, 12), "balls": (3, 9), "string": (5, 30)}  # the sizes of Table 3
PINNED = {"string": 1}  # ends, in training; Table 3 tests 0 and 2 at the training size
NOISED, NOISE = 0.2, 0.05  # share of the examples, and the noise's sd in sd of the data
NOISE_FULL, NOISE_OFF = 50 / 2000, 250 / 2000  # share of training until which it is full, and from which none
ROWS = 50_000  # more are slow to sort and change no percentile that matters
WINDOW = 40 / 2000  # share of training over which the validation error has to fall


def inputs(x: Tensor, v: Tensor, data: Pairs) -> tuple[Tensor, Tensor]:
    """Return relations ``(*, E, R)``, differences of states and all attributes, and objects ``(*, N, O)``, no places.

    Only objects that move are updated; those that do not come last.
    """
    sender, receiver = data.topology.sender, data.topology.receiver
    both = torch.cat([x, v], -1)
    a = data.attributes
    relations = torch.cat(
        [
            both[..., receiver, :] - both[..., sender, :],
            a[..., receiver, :],
            a[..., sender, :],
            data.relations,
        ],
        -1,
    )
    return relations, torch.cat([v, a], -1)


@dataclass(frozen=True)
class Scale:
    """The paper's normalisation: the median becomes 0, the 5th and 95th percentiles become -1 and 1."""

    middle: Tensor
    half: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Scale:
        """Return the scale of ``(S, P, K, F)`` per seed and feature, from every n-th moment with all that is in it."""
        # Every n-th of all rows would be the same object of each moment wherever n is a multiple of K.
        n = max(1, values.shape[1] * values.shape[2] // ROWS)
        rows = values[:, ::n].flatten(1, -2)
        low, middle, high = rows.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=rows.dtype), 1)
        half = (high - low) / 2
        # A feature that hardly varies, such as a flag, is scaled by its largest deviation.
        rest = (rows - middle[:, None]).abs().amax(1)
        half = torch.where(half > 0, half, torch.where(rest > 0, rest, 1.0))
        return cls(middle[:, None, None], half[:, None, None])

    def __call__(self, values: Tensor) -> Tensor:
        """Return normalised values as float32."""
        return ((values - self.middle) / self.half).float()


def _scales(data: Pairs) -> tuple[Scale | None, Scale]:
    """Return the scales of relations, if there are any, and of the objects that move."""
    relations, objects = inputs(data.x, data.v, data)
    return Scale.of(relations) if relations.shape[2] else None, Scale.of(
        objects[:, :, : data.target.shape[2]]
    )


def _at(data: Pairs, index: Tensor) -> Pairs:
    s = torch.arange(len(index))[:, None]
    chosen = {
        name: getattr(data, name)[s, index]
        for name in ("x", "v", "attributes", "relations", "target", "energy")
    }
    return replace(data, **chosen)


def _noise(data: Pairs, seeds: Tensor, step: int, share: float) -> tuple[Tensor, Tensor]:
    """Return positions and velocities with noise on a share of the examples (Section 4.2)."""
    if share <= 0:
        return data.x, data.v
    count = data.x[0, 0].numel()
    u = randomness.uniform(randomness.key(seeds, "noise", step), data.x.shape[1] * (4 * count + 1)).double()
    u = u.view(len(seeds), data.x.shape[1], -1)
    noised = (u[..., -1] < share)[..., None, None]
    # Box and Muller's normal numbers.
    radius, angle = (-2 * (1 - u[..., : 2 * count]).log()).sqrt(), 2 * torch.pi * u[..., 2 * count : -1]
    normal = (radius * angle.cos()).view(*data.x.shape[:2], 2, *data.x.shape[2:])
    sd = [each(lambda p: p.std((0, 1), keepdim=True), part) for part in (data.x, data.v)]
    return tuple(part + noised * NOISE * sd[i] * normal[:, :, i] for i, part in enumerate((data.x, data.v)))


def fade(done: float) -> float:
    """Return how much of the noise is left when a share ``done`` of the training is."""
    return min(1.0, max(0.0, (NOISE_OFF - done) / (NOISE_OFF - NOISE_FULL)))


Predict = Callable[[Pairs], Tensor]
"""Moments to next velocities ``(S, P, N, 2)``, or potential energies ``(S, P, 1)``."""


def train(
    setting: Mapping[str, Any],
    seeds: Sequence[int],
    size: int,
    work: Work,
    energy: bool = False,
) -> Predict:
    """Train one network per seed on scenes of ``size``.

    Its inputs are scaled by its own training set, as printed, or with ``input_scale: trained_size`` by that of the size
    that transfers, so that networks of two sizes see the same masses and places alike.
    """
    numbers = torch.tensor(list(seeds))

    def scenes_of(size: int) -> Pairs:
        balanced = setting["balanced"] and not energy
        return pairs(setting, numbers, "train", setting["scenes"], setting["pairs"], size, balanced)

    scales = None
    if setting["input_scale"] == "trained_size" and size != TRAINED[setting["domain"]]:
        scales = _scales(scenes_of(TRAINED[setting["domain"]]))
    data = scenes_of(size)
    scale_r, scale_o = scales or _scales(data)
    first = _at(data, torch.zeros(len(numbers), 1, dtype=torch.int64))
    relations, objects = inputs(first.x, first.v, first)  # for their shapes
    moving = data.target.shape[2]
    change = setting["predict"] == "change"
    answers = data.energy.unsqueeze(-2) if energy else data.target - data.v[:, :, :moving] * change
    mean = each(lambda a: a.mean((0, 1), keepdim=True), answers)
    sd = each(lambda a: a.std((0, 1), keepdim=True).clamp(min=1e-9), answers)
    widths = relations.shape[-1], objects.shape[-1]

    def build(seed: int) -> nn.Module:
        if setting["model"] == "mlp":
            return Flat(*widths, moving, relations.shape[2], energy, seed)
        return InteractionNetwork(*widths, setting["hidden"], related, energy, seed, penalised)

    related = setting["model"] == "interaction"
    penalised = related and bool(setting["effect_penalty"])
    ensemble = Ensemble(build, seeds, torch.get_default_device())

    def normalised(x: Tensor, v: Tensor, moments: Pairs) -> tuple[Incidence, Tensor, Tensor]:
        r, o = inputs(x, v, moments)
        topology = among_moving(moments.topology, moments.target.shape[2])
        r = scale_r(r) if scale_r else r.float()
        return topology, r, scale_o(o[:, :, : moments.target.shape[2]])

    def network(x: Tensor, v: Tensor, moments: Pairs) -> Tensor:
        topology, *own = normalised(x, v, moments)
        found = ensemble(topology, per_seed=own)
        return found[0] if penalised else found

    batch = whole(setting["batch"] * TRAINED[setting["domain"]] / size)

    def loss(step: int) -> Tensor:
        moments = _at(data, draw(numbers, "batch", step, batch, setting["pairs"]))
        share = NOISED * fade(step / setting["steps"]) if setting["noise"] else 0.0
        x, v = _noise(moments, numbers, step, share)
        topology, *own = normalised(x, v, moments)
        answer = ensemble(topology, per_seed=own)
        found, effects = answer if penalised else (answer, 0.0)
        wanted = moments.energy if energy else moments.target - v[:, :, :moving] * change
        scaled = (wanted - (mean[:, :, 0] if energy else mean)) / (sd[:, :, 0] if energy else sd)
        error = (found - scaled.float()).square().flatten(1).mean(1)
        return error + setting["effect_penalty"] * effects + setting["weight_penalty"] * squares(ensemble)

    @torch.no_grad()
    def predict(moments: Pairs) -> Tensor:
        found = []
        at_once = whole(10_000 / max(1, len(moments.topology.sender)))  # what fits the caches
        for part in torch.arange(moments.x.shape[1]).split(at_once):
            here = _at(moments, part.expand(len(numbers), -1))
            y = network(here.x, here.v, here).double()
            if energy:
                found.append(y * sd[:, :, 0] + mean[:, :, 0])
            else:
                found.append(y * sd + mean + here.v[:, :, : here.target.shape[2]] * change)
        return torch.cat(found, 1)

    plateau = None
    if setting["schedule"] == "plateau" and setting["steps"]:
        seen = held_out(setting, seeds, size, "validation")
        true = seen.energy if energy else seen.target
        plateau = Plateau(
            lambda: each(lambda found, wanted: (found - wanted).square().mean(), predict(seen), true),
            max(1, round(WINDOW * setting["steps"])),
        )
    fit(ensemble, loss, setting["steps"], setting["learning_rate"], work, plateau)
    return predict


def squares(ensemble: Ensemble) -> Tensor:
    """Return the sum of every seed's squared parameters, ``(S,)``."""
    return sum((p.square().flatten(1).sum(1) for p in ensemble.parameters.values()), start=torch.zeros(()))


@lru_cache(maxsize=8)
def among_moving(topology: Incidence, moving: int) -> Incidence:
    """Return the topology for effects alone: its receivers all move, its senders are not looked at any more."""
    return Incidence(topology.receiver, topology.receiver, moving)


def prediction(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Tables 2 and 3: the mean squared error of the next velocity over the constant velocity's.

    Of all scenes, and of those without a star; balls and strings have none, and there both are one number.
    """
    domain, same_size = setting["domain"], setting["trained_on"] == "same_size"
    sizes = SAME_SIZE[domain] if same_size else TESTED[domain]
    # An MLP has no other size; other ends are tested at the training size alone.
    if setting["model"] == "mlp" or setting["ends_pinned"] != PINNED.get(domain, setting["ends_pinned"]):
        sizes = (TRAINED[domain],)
    transfer = {**setting, "ends_pinned": PINNED.get(domain, setting["ends_pinned"])}

    def trained(
        setting: Mapping[str, Any], seeds: Sequence[int], sizes: Sequence[int], work: Work
    ) -> Predict:
        return train(setting if same_size else transfer, seeds, sizes[0], work)

    plan, within = Sizes([TRAINED[domain]], sizes, sizes), {"largest": max(setting["largest"], sizes[0])}
    for chunk in context.chunks(seeds, bytes_per_seed(setting), largest=3):
        yield from by_size({**setting, **within}, chunk, context, plan, trained, measured)


def bytes_per_seed(setting: Mapping[str, Any]) -> float:
    """Return what one seed needs at its peak: the features of its pairs' relations, and the scenes they come from."""
    domain = setting["domain"]
    size = max(SAME_SIZE[domain]) if setting["trained_on"] == "same_size" else TRAINED[domain]
    relations = {"nbody": size * (size - 1), "balls": size * (size + 3), "string": 3 * size - 2}[domain]
    features = {"nbody": 6, "balls": 13, "string": 14}[domain]  # the domain's own attributes counted twice
    # In double precision; a trajectory of positions and velocities exists in a list of its steps and stacked.
    return 8 * (setting["pairs"] * (relations * features + 12 * size) + 8 * STEPS * size * setting["scenes"])


def held_out(setting: Mapping[str, Any], seeds: Sequence[int], size: int, stream: str = "test") -> Pairs:
    """Return every seed's moments for a test or for validation, from scenes of their own."""
    count = setting["test_pairs"] if stream == "test" else setting["validation_pairs"]
    return pairs(setting, torch.tensor(seeds), stream, setting["test_scenes"], count, size, balanced=False)


def measured(
    setting: Mapping[str, Any], seeds: Sequence[int], size: int, predict: Predict
) -> list[dict[str, float]]:
    """Return every seed's row for a size."""
    data = held_out(setting, seeds, size)
    before = data.v[:, :, : data.target.shape[2]]
    # A star's pull is most of the error, and one relation. Without it several pulls are of a size.
    starless = (data.attributes[..., 0] < nbody.STAR).all(-1)
    if setting["domain"] != "nbody":
        starless = torch.ones_like(starless)

    def relative(found: Tensor, v: Tensor, target: Tensor, chosen: Tensor) -> Tensor:
        return (found - target)[chosen].square().mean() / (v - target)[chosen].square().mean()

    parts = predict(data), before, data.target
    overall = each(relative, *parts, torch.ones_like(starless))
    without = each(relative, *parts, starless)
    return [
        {"size": size, "relative_error": float(e), "starless_error": float(w)}
        for e, w in zip(overall, without, strict=True)
    ]


def energy(
    setting: Mapping[str, Any], seeds: Sequence[int], context: Context
) -> Iterator[tuple[int, dict[str, float]]]:
    """Section 5.2: the mean squared error of the potential energy, over its variance."""
    for chunk in context.chunks(seeds, bytes_per_seed(setting), largest=3):
        size = TRAINED[setting["domain"]]
        with on(context.device):
            predict = train(setting, chunk, size, context.work, energy=True)
            data = held_out(setting, chunk, size)
            error = each(
                lambda found, true: (found - true).square().mean() / true.var(), predict(data), data.energy
            )
        yield from ((seed, {"energy_error": e}) for seed, e in zip(chunk, error.tolist(), strict=True))
