"""Films: pictures that move by themselves, in a page without scripts or network."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

import numpy as np

from repro.report.animation import Film, Take

SVG = "{http://www.w3.org/2000/svg}"


def film(frames: int = 4, things: int = 3) -> Film:
    truth = np.cumsum(np.ones((frames, things, 2)), 0) * np.arange(1, things + 1)[None, :, None]
    return Film.of([Take("a", truth, 2 * truth), Take("b", truth, -truth)], "title", "alt", "caption")


def drawn() -> tuple[str, ET.Element]:
    address = film().svg()
    head, data = address.split(",", 1)
    assert head == "data:image/svg+xml;base64"
    text = base64.b64decode(data).decode()
    return text, ET.fromstring(text)


def test_a_film_needs_nothing_but_itself() -> None:
    text, root = drawn()
    assert "<script" not in text
    assert text.count("http") == 1, "only the name of the format"
    assert root.get("viewBox") == "0 0 600 360"


def test_every_frame_is_in_it_and_it_repeats() -> None:
    _, root = drawn()
    moves = list(root.iter(f"{SVG}animate"))
    assert len(moves) == 2 * 2 * (1 + 3 * 2), "per panel and side: the line, and both places of three things"
    assert {m.get("repeatCount") for m in moves} == {"indefinite"}
    assert {len((m.get("values") or "").split(";")) for m in moves} == {4}


def test_panels_lie_side_by_side_and_things_inside_them() -> None:
    _, root = drawn()
    for k, line in enumerate(root.iter(f"{SVG}polyline")):
        points = np.array([[float(v) for v in p.split(",")] for p in (line.get("points") or "").split()])
        left = 300 * (k // 2)
        assert (points[:, 0] >= left).all()
        assert (points[:, 0] <= left + 300).all()
        assert (points[:, 1] >= 40 - 1e-6).all()
        assert (points[:, 1] <= 300).all()


def test_the_still_figure_stands_for_it() -> None:
    assert len(film().figure.axes) == 2
    assert film().svg() == film().svg()
