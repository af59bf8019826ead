"""Random numbers that belong to (seed, stream, step), never to a batch, a device or a call order.

Every number is a pure function of a 64-bit key and a counter: SplitMix64 (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", 2014), used in the counter-based way of Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3" (2011). Only integer arithmetic decides, so seed 7 draws the same dropout
mask alone or among a hundred, after a resume, on a CPU and on a GPU.

Keys are int64 tensors of any shape; a key of shape ``(S,)`` draws for S seeds at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _mix_(z: Tensor) -> Tensor:
    """SplitMix64's output function, in place; the masks turn torch's arithmetic shifts into logical ones."""
    z ^= (z >> 30).bitwise_and_((1 << 34) - 1)
    z *= _MIX_1
    z ^= (z >> 27).bitwise_and_((1 << 37) - 1)
    z *= _MIX_2
    z ^= (z >> 31).bitwise_and_((1 << 33) - 1)
    return z


@lru_cache(maxsize=256)
def _stream_id(stream: str) -> int:
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little", signed=True)


@lru_cache(maxsize=32)
def _counters(n: int, device: torch.device) -> Tensor:
    return torch.arange(1, n + 1, dtype=torch.int64, device=device) * _GAMMA


def key(seeds: Tensor | Sequence[int] | int, stream: str, step: int = 0) -> Tensor:
    """Return the int64 key of a stream at a step, in the shape of ``seeds``.

    Args:
        seeds: seed numbers, any shape.
        stream: what the numbers are for, e.g. ``"dropout/0"``; other names give unrelated numbers.
        step: training step, epoch or any other count.
    """
    z = torch.as_tensor(seeds, dtype=torch.int64).clone()
    z += _GAMMA
    z = _mix_(z)
    z += _stream_id(stream)
    z = _mix_(z)
    z += _signed(((step + 1) * 0x9E3779B97F4A7C15) % (1 << 64))
    return _mix_(z)


def bits(key: Tensor, n: int) -> Tensor:
    """Return ``n`` random 64-bit integers per key: shape ``key.shape + (n,)``."""
    return _mix_(key.unsqueeze(-1) + _counters(n, key.device))


def uniform(key: Tensor, n: int) -> Tensor:
    """Return ``n`` float32 numbers in [0, 1) per key, each from 24 random bits: ``key.shape + (n,)``."""
    return (bits(key, n) >> 40).bitwise_and_((1 << 24) - 1).to(torch.float32) * 2.0**-24


def permutation(key: Tensor, n: int) -> Tensor:
    """Return a uniformly random order of ``range(n)`` per key: int64, ``key.shape + (n,)``."""
    return bits(key, n).argsort(dim=-1)


def keep_mask(key: Tensor, n: int, p: float) -> Tensor:
    """Return a dropout mask: True (keep) with probability 1 - ``p``, rounded to a multiple of 2^-16.

    One 64-bit number serves four elements. Shape ``key.shape + (n,)``, bool.

    Raises:
        ValueError: if ``p`` is not in [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"a dropout probability lies in [0, 1), not {p}")
    lanes = bits(key, (n + 3) // 4).view(torch.int16)
    return lanes[..., :n] >= drop_threshold(p)


def drop_threshold(p: float) -> int:
    """Return the int16 value below which an element is dropped with probability ``p``."""
    return round(p * 65536) - 32768


def keep_scale(p: float) -> float:
    """Return 1 / (probability of keeping), with the probability that :func:`keep_mask` really has."""
    return 65536 / (32768 - drop_threshold(p))
