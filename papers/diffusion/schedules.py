"""Diffusion rates β_1..β_T: the paper's, the released code's, DDPM's; and the check of a schedule from outside."""

from __future__ import annotations

import torch
from torch import Tensor

from repro.errors import SettingError

RELEASED_FIRST_BETA = 1e-3  # step1_beta of the released code; the paper does not give its β_1
RELEASED_FLOOR = 1e-6  # its smallest β


def checked(betas: Tensor, name: str) -> Tensor:
    """Return a fixed schedule, or say what is wrong with it.

    The last β may be 1: the paper's binomial schedule ends by erasing everything. β_1 stands apart, as in the paper;
    the released code's is larger than its β_2.

    Args:
        betas: ``(T,)``.
        name: for the message.

    Raises:
        SettingError: for fewer than two steps, a rate outside (0, 1), or rates that fall.
    """
    if betas.numel() < 2:
        raise SettingError(f"schedule `{name}`: {betas.numel()} steps; a diffusion needs T of at least 2")
    inside = (betas > 0) & (betas < 1)
    inside[-1] |= betas[-1] == 1
    if not bool(inside.all()):
        at = int((~inside).nonzero()[0])
        raise SettingError(f"schedule `{name}`: β_{at + 1} = {betas[at]:g} does not lie in (0, 1)")
    falls = (betas[1:].diff() < 0).nonzero()
    if len(falls):
        at = int(falls[0])
        raise SettingError(
            f"schedule `{name}`: β_{at + 3} = {betas[at + 2]:g} is smaller than β_{at + 2} = {betas[at + 1]:g}; "
            "rates must not fall"
        )
    return betas


def _at_least_two(T: int, name: str) -> None:
    if T < 2:
        raise SettingError(f"schedule `{name}`: T = {T}; a diffusion needs at least 2 steps")


def binomial(T: int) -> Tensor:
    """β_t = 1 / (T - t + 1): every step erases the same share 1/T of the signal (Section 2.4.1)."""
    _at_least_two(T, "binomial")
    return checked(1 / torch.arange(T, 0, -1, dtype=torch.float64), "binomial")


def gaussian_fixed(T: int, first_beta: float) -> Tensor:
    """The binomial schedule with β_1 replaced, which footnote 2 finds as good as a learned one.

    The last β is held just below 1, so that its logit is finite.
    """
    _at_least_two(T, "fixed")
    betas = binomial(T).clamp(max=1 - 1e-3)
    betas[0] = first_beta
    return checked(betas, "fixed")


def released_code(T: int, first_beta: float = RELEASED_FIRST_BETA) -> Tensor:
    """β = 1 / linspace(T, 2, T) above a floor that is higher at the first step; never learned (model.py)."""
    _at_least_two(T, "released_code")
    floor = torch.full((T,), RELEASED_FLOOR, dtype=torch.float64)
    floor[0] += first_beta
    return checked(floor + (1 - floor) / torch.linspace(T, 2, T, dtype=torch.float64), "released_code")


def learning_start(T: int, first_beta: float, last_signal: float = 1e-3) -> Tensor:
    """Rates under which the noise-to-signal ratio (1 - ᾱ_t) / ᾱ_t grows by one factor per step.

    Where the learning of rates starts: with a small β_1 the next rates must be small as well, or the second step
    would blur everything that the first has kept. They may fall from β_1 to β_2.
    """
    _at_least_two(T, "learned")
    first = first_beta / (1 - first_beta)
    factor = (1 - last_signal) / last_signal / first
    ratio = first * factor ** torch.linspace(0, 1, T, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), ratio]).diff() / (1 + ratio)


def ddpm(T: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Linear rates (DDPM, Section 4)."""
    _at_least_two(T, "ddpm")
    return checked(torch.linspace(first, last, T, dtype=torch.float64), "ddpm")
