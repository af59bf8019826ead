"""A film in a figure's place: an SVG that moves by itself, without scripts and without network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray

from repro.report.drawing import GREY, ORANGE, Drawn, new_figure

SECONDS = 10.0  # of one round
WIDTH, HEIGHT = 300.0, 300.0  # of a panel, in pixels


@dataclass(frozen=True)
class Take:
    """One panel: a chain of things that truth and network move, ``(frames, things, 2)`` [m]."""

    title: str
    truth: NDArray[np.float64]
    network: NDArray[np.float64]


@dataclass(frozen=True)
class Film(Drawn):
    """A figure that moves where pictures can; its still figure stands for it elsewhere."""

    takes: Sequence[Take] = field(default=())

    @classmethod
    def of(cls, takes: Sequence[Take], title: str, alt: str, caption: str) -> Film:
        """Return the film of some takes, side by side; the still figure shows their last frames."""
        fig = new_figure(3.3 * len(takes), 3.6)
        for axis, take in zip(fig.subplots(1, len(takes), squeeze=False)[0], takes, strict=True):
            axis.plot(*take.truth[-1].T, "o-", color=GREY, markersize=3)
            axis.plot(*take.network[-1].T, "s--", color=ORANGE, markersize=3)
            axis.set_title(take.title, fontsize=10)
            axis.set(xlabel="x [m]", ylabel="y [m]")
        return cls(fig, title, alt, caption, takes)

    def still(self) -> str:
        """See :meth:`Drawn.still`."""
        return Drawn.svg(self)

    def svg(self) -> str:
        """Return the moving picture as an SVG data address."""
        panels = "".join(_panel(take, i * WIDTH) for i, take in enumerate(self.takes))
        width = WIDTH * len(self.takes)
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {HEIGHT + 60:g}" '
            f'width="{width:g}" height="{HEIGHT + 60:g}" font-family="DejaVu Sans, sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>{panels}{_legend(HEIGHT + 45)}</svg>'
        )
        return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()


def _legend(y: float) -> str:
    return (
        f'<circle cx="16" cy="{y - 4:g}" r="4" fill="{GREY}"/><text x="26" y="{y:g}">simulator</text>'
        f'<rect x="112" y="{y - 8:g}" width="8" height="8" fill="{ORANGE}"/><text x="126" y="{y:g}">network</text>'
    )


def _moves(attribute: str, values: NDArray[np.float64]) -> str:
    listed = ";".join(f"{v:.1f}" for v in values)
    return f'<animate attributeName="{attribute}" values="{listed}" dur="{SECONDS:g}s" repeatCount="indefinite"/>'


def _panel(take: Take, left: float) -> str:
    """Draw one take: a line whose points move, the things on it, and the scale."""
    both = np.concatenate([take.truth, take.network], axis=1)
    low, high = both.min((0, 1)), both.max((0, 1))
    scale = float(min((WIDTH - 30) / (high[0] - low[0]), (HEIGHT - 50) / (high[1] - low[1])))

    def place(path: NDArray[np.float64]) -> NDArray[np.float64]:
        middle = (low[0] + high[0]) / 2
        x = left + WIDTH / 2 + (path[..., 0] - middle) * scale
        return np.stack([x, 40 + (high[1] - path[..., 1]) * scale], -1)

    drawn = [f'<text x="{left + WIDTH / 2:g}" y="18" text-anchor="middle">{escape(take.title)}</text>']
    for path, colour, round_ in ((place(take.truth), GREY, True), (place(take.network), ORANGE, False)):
        frames = [" ".join(f"{x:.1f},{y:.1f}" for x, y in frame) for frame in path]
        drawn.append(
            f'<polyline fill="none" stroke="{colour}" points="{frames[0]}">'
            f'<animate attributeName="points" values="{";".join(frames)}" dur="{SECONDS:g}s" '
            'repeatCount="indefinite"/></polyline>'
        )
        for x, y in path.transpose(1, 2, 0):
            if round_:
                drawn.append(
                    f'<circle r="3.5" cx="{x[0]:.1f}" cy="{y[0]:.1f}" fill="{colour}">'
                    f"{_moves('cx', x)}{_moves('cy', y)}</circle>"
                )
            else:
                drawn.append(
                    f'<rect width="6" height="6" x="{x[0] - 3:.1f}" y="{y[0] - 3:.1f}" fill="{colour}">'
                    f"{_moves('x', x - 3)}{_moves('y', y - 3)}</rect>"
                )
    metre = scale * _round(60 / scale)
    at = HEIGHT + 20
    drawn.append(
        f'<line x1="{left + 16:g}" x2="{left + 16 + metre:g}" y1="{at:g}" y2="{at:g}" stroke="black"/>'
        f'<text x="{left + 22 + metre:g}" y="{at + 4:g}">{metre / scale:g} m</text>'
    )
    return "".join(drawn)


def _round(length: float) -> float:
    """Return the largest of 0.5, 1, 2, 5, 10 m that is not longer, or 0.5."""
    return max([n for n in (0.5, 1.0, 2.0, 5.0, 10.0) if n <= length], default=0.5)
