"""The binary heartbeat: binomial diffusion, trained at all times at once (Section 3.1.2 and Appendix D.1.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from papers.diffusion import bound, schedules
from papers.diffusion.model import HeartbeatNetwork
from papers.diffusion.processes import BITS, Binomial, bernoulli_entropy
from papers.diffusion.sets import PERIOD, heartbeats, phases
from papers.diffusion.training import adam, predict
from repro import randomness
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.noise import bernoulli

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]


def process_of(setting: Mapping[str, Any]) -> Binomial:
    """Return the forward process of a setting, in double precision."""
    betas = {"binomial": schedules.binomial, "released_code": schedules.released_code}[setting["schedule"]]
    return Binomial(betas(setting["T"]), setting["base_rate"])


def drawn(
    process: Binomial, data: Tensor, keys: tuple[Tensor, Tensor], draws: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x_t ``(S, T - 1, draws, length)`` at t = 2..T for random sequences, q(x_{t-1} = 1 | x_t, x_0), x_0."""
    T, length = process.T, data.shape[-1]
    t = bound.times(T).unsqueeze(-1)
    x0 = data[phases(keys[0], (T - 1) * draws)].view(*keys[0].shape, T - 1, draws, length)
    xt = bernoulli(keys[1], process.marginal(t, x0))
    return xt, process.posterior(t, xt, x0), x0


class Model:
    """The seeds' networks and their process.

    Args:
        setting: of the experiment.
        seeds: one copy each.
    """

    def __init__(self, setting: Mapping[str, Any], seeds: Sequence[int]) -> None:
        self.exact = process_of(setting)
        self.single = Binomial(self.exact.betas.float(), self.exact.base_rate)
        self.data = heartbeats(setting["length"])
        self.ensemble = Ensemble(
            lambda seed: HeartbeatNetwork(
                self.exact, setting["length"], seed, setting["hidden"], setting["output"] == "offset"
            ),
            seeds,
        )
        self.t = bound.times(self.exact.T)

    def loss(self, step: int, draws: int) -> Tensor:
        """Σ_t KL up to a constant, in nats, ``(S,)``: the cross-entropy with the posterior."""
        keys = tuple(randomness.key(self.ensemble.seeds, f"train/{part}", step) for part in ("data", "noise"))
        xt, posterior, _ = drawn(self.single, self.data.float(), keys, draws)
        z = predict(self.ensemble, xt, self.t)
        cost = binary_cross_entropy_with_logits(z, posterior, reduction="none")
        return cost.sum(-1).mean(-1).sum(-1)

    @torch.no_grad()
    def bound(self, draws: int, stream: str) -> bound.Bound:
        """Estimate K with ``draws`` sequences at every time, ten at once."""
        parts = []
        for i in range(0, draws, 10):
            keys = tuple(randomness.key(self.ensemble.seeds, f"{stream}/{p}", i) for p in ("data", "noise"))
            xt, posterior, _ = drawn(self.exact, self.data, keys, 10)
            z = predict(self.ensemble, xt.float(), self.t).double()
            cross = -posterior * logsigmoid(z) - (1 - posterior) * logsigmoid(-z)
            parts.append((cross - bernoulli_entropy(posterior)).sum(-1))
        return bound.from_kl(torch.cat(parts, dim=-1), entropies(self.exact, self.data))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Return ``(S, n, length)`` sequences of the reverse process; the last step is the forward kernel."""
        process, seeds, length = self.exact, self.ensemble.seeds, self.data.shape[-1]
        x = bernoulli(
            randomness.key(seeds, "sample/start"),
            torch.full((len(seeds), n, length), process.base_rate),
        )
        for t in range(process.T, 1, -1):
            z = predict(self.ensemble, x.unsqueeze(1), torch.tensor([t])).squeeze(1)
            x = bernoulli(randomness.key(seeds, "sample/step", t), torch.sigmoid(z))
        return bernoulli(randomness.key(seeds, "sample/step", 1), process.step(x, process.betas[0].float()))


def entropies(process: Binomial, data: Tensor) -> float:
    """H_q(X_T | X_0) - H_q(X_1 | X_0) - H_p(X_T) in nats of a whole sequence."""
    last, first = (process.entropy(t, data).sum(-1).mean() for t in (process.T, 1))
    return float(last - first) - data.shape[-1] * process.equilibrium_entropy()


def train(setting: Mapping[str, Any], seeds: Sequence[int], work: Work) -> Model:
    """Return the trained seeds."""
    model = Model(setting, seeds)
    adam(
        model.ensemble.parameters.values(),
        lambda step: model.loss(step, setting["batch"]),
        setting["steps"],
        setting["learning_rate"],
        work,
    )
    return model


def _valid(sequences: Tensor, data: Tensor) -> Tensor:
    """Whether each of ``(..., length)`` is one of the heartbeats."""
    return (sequences.unsqueeze(-2) == data.to(sequences.dtype)).all(-1).any(-1)


def _bytes_per_seed(setting: Mapping[str, Any]) -> float:
    weights = setting["T"] * setting["hidden"] * setting["length"] * 16
    return weights + 60.0 * setting["T"] * 10 * setting["hidden"]


def heartbeat(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Table 1, binary heartbeat: train, estimate K twice on fresh noise, and sample."""
    for chunk in context.chunks(seeds, _bytes_per_seed(setting), largest=1):
        model = train(setting, chunk, context.work)
        first, again = (model.bound(setting["test_draws"], f"test/{i}") for i in range(2))
        null = -setting["length"] * model.exact.equilibrium_entropy() * BITS
        valid = _valid(model.sample(setting["samples"]), model.data).float().mean(-1)
        for i, seed in enumerate(chunk):
            k, other = float(first.bits[i]), float(again.bits[i])
            error = float(first.standard_error[i])
            yield (
                seed,
                {
                    "k": k,
                    "k_error": error,
                    "k_minus_l_null": k - null,
                    "repeat_z": abs(k - other) / (error**2 + float(again.standard_error[i]) ** 2) ** 0.5,
                    "valid_share": 100 * float(valid[i]),
                },
            )


def heartbeat_samples(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Figure 2: sequences of the reverse process, each as the number that its bits form, with the bits it misses."""
    for chunk in context.chunks(seeds, _bytes_per_seed(setting), largest=1):
        model = train(setting, chunk, context.work)
        sequences = model.sample(setting["samples"])
        weights = 2.0 ** torch.arange(setting["length"])
        for i, seed in enumerate(chunk):
            wrong = (sequences[i].unsqueeze(1) != model.data.float()).sum(-1).amin(-1)
            yield (
                seed,
                [
                    {
                        "entry": k,
                        "sequence": float((sequences[i, k] * weights).sum()),
                        "wrong_bits": int(wrong[k]),
                    }
                    for k in range(setting["samples"])
                ],
            )


def exact_ceiling(process: Binomial, data: Tensor, seed: int, draws: int) -> bound.Bound:
    """The largest K of any reverse kernel that treats the bits of x_{t-1} as independent, given x_t.

    That kernel is the average of q(x_{t-1} | x_t, x_0) over the posterior of the five phases. Its KL is averaged
    over that posterior as well, so that only x_t is sampled.
    """
    kls = []
    for t in bound.times(process.T).split(max(1, 400_000 // (draws * data.shape[-1]))):
        keys = [
            randomness.key(torch.tensor(seed), f"ceiling/{part}", int(t[0])) for part in ("data", "noise")
        ]
        column = t.unsqueeze(-1)
        x0 = data[phases(keys[0], len(t) * draws)].view(len(t), draws, -1)
        xt = bernoulli(keys[1], process.marginal(column, x0)).unsqueeze(-2)  # (times, draws, 1, length)
        ones = process.marginal(column.unsqueeze(-1), data.expand(len(t), 1, PERIOD, -1))
        log_weights = (xt * ones.log() + (1 - xt) * (1 - ones).log()).sum(-1)
        weights = log_weights.softmax(-1).unsqueeze(-1)
        per_phase = process.posterior(column.unsqueeze(-1), xt, data.expand(len(t), 1, PERIOD, -1))
        mean = (weights * per_phase).sum(-2)
        kl = bernoulli_entropy(mean) - (weights * bernoulli_entropy(per_phase)).sum(-2)
        kls.append(kl.sum(-1))
    return bound.from_kl(torch.cat(kls).unsqueeze(0), entropies(process, data))


TRUE_BITS = -float(torch.tensor(float(PERIOD)).double().log2())  # log2(1/5)


def _ceiling_row(setting: Mapping[str, Any], seed: int, T: int, length: int) -> dict[str, float]:
    process = process_of({**setting, "T": T})
    found = exact_ceiling(process, heartbeats(length), seed, setting["draws"])
    k = float(found.bits[0])
    return {"ceiling": k, "ceiling_error": float(found.standard_error[0]), "ceiling_gap": TRUE_BITS - k}


def ceiling(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The best K that a reverse process of independent bits can have, by Monte Carlo over x_t."""
    for seed in seeds:
        yield seed, _ceiling_row(setting, seed, setting["T"], setting["length"])


def ceiling_by_length(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The same for longer sequences."""
    for seed in seeds:
        yield (
            seed,
            [{"length": n, **_ceiling_row(setting, seed, setting["T"], n)} for n in (20, 40, 80, 120, 200)],
        )


def ceiling_by_steps(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The same for other numbers of steps."""
    for seed in seeds:
        yield (
            seed,
            [
                {"steps": T, **_ceiling_row(setting, seed, T, setting["length"])}
                for T in (125, 250, 500, 1000, 2000)
            ],
        )
