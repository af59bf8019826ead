"""This paper's figures, drawn from records."""

from __future__ import annotations

from collections.abc import Iterator

from repro.report.drawing import Drawn
from repro.report.figures import Sources, Verdicts


def figures(sources: Sources, verdicts: Verdicts) -> Iterator[Drawn]:
    """Yield the figures that the records allow."""
    yield from ()
