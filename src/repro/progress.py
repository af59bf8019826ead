"""Progress of a run on a terminal: what runs, how far it is, the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from repro.plan import Job, in_words


def _varying(jobs: Sequence[Job]) -> dict[str, set[str]]:
    """Return for each experiment the switches in which its jobs differ: what a reader tells them apart by."""
    found: dict[str, set[str]] = {}
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(job.experiment, job)
        differ = {key for key, value in job.setting.items() if value != other.setting.get(key)}
        found.setdefault(job.experiment, set()).update(differ)
    return found


class Bar:
    """A progress bar over all seeds of all jobs; where there is no terminal, a line now and then instead."""

    def __init__(self, console: Console, label: str, every: float = 30.0) -> None:
        self.console, self.label, self.every = console, label, every
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.total = self.before = self.now = 0.0
        self.sizes: dict[str, int] = {}
        self.varies: dict[str, set[str]] = {}
        self.spoke = time.monotonic()
        self.first: tuple[float, float] | None = None  # when it was first heard of, and what was done by then

    def __enter__(self) -> Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def start(self, jobs: Sequence[tuple[Job, int]]) -> None:
        """Take each job with the number of seeds it still lacks."""
        self.sizes = {job.name: seeds for job, seeds in jobs}
        self.varies = _varying([job for job, _ in jobs])
        self.total = sum(self.sizes.values())
        self.task = self.bar.add_task(self.label, total=self.total)
        if not self.total:
            self.console.print(f"{self.label}: nothing is missing")

    def job(self, job: Job) -> None:
        """A job begins; the one before is over, whatever it did."""
        self.before += self.now
        self.now = 0.0
        self.current = self.sizes[job.name]
        varies = self.varies.get(job.experiment, set())
        where = in_words({key: value for key, value in job.setting.items() if key in varies})
        self.bar.update(self.task, description=f"{self.label} {job.experiment} {where:.40}".rstrip())

    def done(self, seeds: float) -> None:
        """So many seeds of the current job are done, fractions included."""
        self.now = min(seeds, self.current)
        completed = self.before + self.now
        self.bar.update(self.task, completed=round(completed, 2))
        now = time.monotonic()
        self.first = self.first or (now, completed)
        if not self.console.is_terminal and now - self.spoke > self.every:
            self.spoke = now
            self.console.print(
                f"{self.label}: {completed:.0f} of {self.total:.0f} seeds, {self._left(now, completed)}"
            )

    def _left(self, now: float, completed: float) -> str:
        """Say how long the rest takes at this process's pace: what an earlier one did took none of its time."""
        assert self.first is not None
        began, before = self.first
        if completed <= before:
            return "time left not known yet"
        left = (now - began) * (self.total - completed) / (completed - before)
        return f"about {left / 60:.0f} min left"

    def say(self, message: str) -> None:
        """Show a message above the bar."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)
