"""What an experiment is given besides its setting and seeds: device, memory, and how to say and keep how far it is."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro.checkpoint import Checkpoint

MEMORY_LIMIT = 3 * 2**30  # of one chunk of seeds, so that a run fits beside others on a small machine


def _ignore(seeds: float) -> None:
    pass


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Work:
    """A training, one of several that a chunk of seeds may need: says how far it is, and keeps its state.

    Attributes:
        tick: takes the share of it that is done, between 0 and 1.
        checkpoint: where its state is kept.
    """

    tick: Callable[[float], None] = _ignore
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    def part(self, i: int, parts: int) -> Work:
        """Return part ``i`` of equal parts, which are done one after the other."""
        whole = self.checkpoint
        path = whole.path and whole.path.with_name(f"{whole.path.stem}-{i}.pt")
        return Work(
            lambda share: self.tick((i + share) / parts),
            Checkpoint(path, whole.every, keep_end=parts > 1, resumed=whole.resumed),
        )


@dataclass
class Context:
    """Handed to every experiment.

    Attributes:
        root: the project's folder.
        where: ``cpu`` or ``cuda``; experiments ask for :attr:`device`.
        memory: bytes that one chunk of seeds may use.
        report: takes how many seeds are done, fractions included.
        finished: called when all seeds of a chunk are done. Seeds that stop early come first, so that part of a chunk
            would be a biased sample.
        kept: folder of this job's unfinished trainings; None keeps none.
        asked: whether the experiment has asked for the device. One that never does computes on the processor.
        earlier: seconds that went into the current chunk's trainings before this process.
    """

    root: Path
    where: str = "cpu"
    memory: int = MEMORY_LIMIT
    report: Callable[[float], None] = _ignore
    finished: Callable[[], None] = _nothing
    kept: Path | None = None
    asked: bool = field(default=False, init=False)
    earlier: float = field(default=0.0, init=False)
    _done: int = field(default=0, init=False)
    _chunk: list[int] = field(default_factory=list, init=False)

    @property
    def device(self) -> str:
        """Where the experiment is to run: ``cpu`` or ``cuda``."""
        self.asked = True
        return self.where

    def chunks(self, seeds: Sequence[int], bytes_per_seed: float, largest: int = 50) -> Iterator[list[int]]:
        """Yield the seeds in groups that fit the memory.

        Results depend on the grouping in the last bits at most, of which a long training may make more.

        Args:
            seeds: all seeds to run.
            bytes_per_seed: what one seed needs at its peak, roughly.
            largest: the most seeds at once; more brings no speed, and a killed run loses the current chunk.
        """
        size = max(1, min(largest, int(self.memory // max(bytes_per_seed, 1))))
        for start in range(0, len(seeds), size):
            chunk = list(seeds[start : start + size])
            self._chunk, self.earlier = chunk, 0.0
            yield chunk
            self._done += len(chunk)
            self.finished()
            if self.kept:
                shutil.rmtree(self._folder(self.kept), ignore_errors=True)
            self._chunk = []
            # Graphs and their transposes refer to each other; without this they pile up until Python looks.
            gc.collect()
            self.report(self._done)

    @property
    def in_chunk(self) -> bool:
        """Whether a chunk of seeds is being worked on."""
        return bool(self._chunk)

    @property
    def work(self) -> Work:
        """The current chunk's work, to be handed to a training. Outside a chunk no seeds name it: nothing is kept."""
        path = self._folder(self.kept) / "training.pt" if self.kept and self._chunk else None
        return Work(self.tick, Checkpoint(path, resumed=self._resumed))

    def _resumed(self, seconds: float) -> None:
        self.earlier += seconds

    def _folder(self, kept: Path) -> Path:
        return kept / "-".join(str(seed) for seed in self._chunk)

    def tick(self, share: float) -> None:
        """Say that this share of the current chunk's work is done, between 0 and 1."""
        self.report(self._done + share * len(self._chunk))


def available_memory() -> int:
    """Return the bytes that a chunk may use: at most ``MEMORY_LIMIT``, at most half of what is free."""
    import psutil

    return int(min(MEMORY_LIMIT, psutil.virtual_memory().available / 2))
