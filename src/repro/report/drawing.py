"""How every figure looks, and how it gets into a page that needs nothing else."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinguishable with every common colour blindness, and in grey by marker and dash.
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
GREY, PALE, PAPER = "#666666", "#e3e3e3", "#222222"
# For what has more parts than three: told apart by colour and by shape (Okabe and Ito's colours).
COLOURS, MARKERS = (BLUE, ORANGE, GREEN, PURPLE, SKY, "#E69F00"), "os^Dvp"
SOURCES = {"reference": (BLUE, "o"), "yours": (ORANGE, "s")}

STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "repro",  # equal inputs give equal bytes
}


@dataclass(frozen=True)
class Drawn:
    """A figure with what a reader who cannot see it needs.

    Attributes:
        figure: matplotlib figure.
        title: one line.
        alt: what it shows, for screen readers.
        caption: how to read it, and what the paper's own figure looks like.
    """

    figure: Figure
    title: str
    alt: str
    caption: str

    def still(self) -> str | None:
        """Return what to show those who want no motion, as a data address; None for a figure that does not move."""
        return None

    def bytes(self) -> bytes:
        """Return the figure as an SVG file."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
        return buffer.getvalue()

    def svg(self) -> str:
        """Return the figure as an SVG data address."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.bytes()).decode()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure in the common style, which becomes matplotlib's for this process."""
    style.use(STYLE)
    return Figure(figsize=(width, height))
