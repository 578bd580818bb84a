"""A picture of the cameras around the object: seen from above and from the side."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from one2345.geometry import OBJECT_EDGE, pixel_rays

from ..posed_views import PosedViews

_PANEL, _MARGIN, _HEADING = 480, 44, 30
_INK, _GRID, _BOX = (60, 60, 60), (225, 225, 225), (190, 90, 30)


def draw_cameras(views: PosedViews) -> Image.Image:
    """RGB picture of two panels (from above: x right, y up; from the front: x right, z up), units of the world.

    Each camera is its frustum, as long as a quarter of its distance, coloured from first (blue) to last (red)
    and numbered; the square is the object's box of edge 0.8 at the origin.
    """
    cameras = views.cameras
    height, width = cameras.size
    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    directions = pixel_rays(cameras, corners.expand(len(views), 4, 2)).directions
    centres = cameras.centres
    length = 0.25 * torch.linalg.vector_norm(centres, dim=-1)[:, None, None]
    frusta = torch.cat([centres[:, None], centres[:, None] + length * directions], 1).double().numpy()
    reach = max(float(np.abs(frusta).max()), OBJECT_EDGE)
    picture = Image.new("RGB", (2 * _PANEL, _PANEL + _HEADING), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=13)
    heading = f"{len(views)} cameras, distance {_range(torch.linalg.vector_norm(centres, dim=-1))}"
    draw.text((_MARGIN, 8), f"{heading}; the square is the object's box, edge {OBJECT_EDGE}", _INK, font)
    for panel, (axes, title) in enumerate((((0, 1), "from above"), ((0, 2), "from the front (-y)"))):
        _panel(draw, font, panel * _PANEL, axes, title, frusta, reach)
    return picture


def _panel(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    left: int,
    axes: tuple[int, int],
    title: str,
    frusta: np.ndarray,
    reach: float,
) -> None:
    scale = (_PANEL / 2 - _MARGIN) / reach
    middle = np.array([left + _PANEL / 2, _HEADING + _PANEL / 2])

    def at(points: np.ndarray) -> list[tuple[float, float]]:
        flat = points[..., list(axes)] * np.array([scale, -scale]) + middle
        return [(float(u), float(v)) for u, v in flat.reshape(-1, 2)]

    step = 10 ** np.floor(np.log10(reach)) * (0.5 if reach / 10 ** np.floor(np.log10(reach)) < 2.5 else 1)
    ends = np.zeros((2, 3))
    for tick in np.arange(-np.floor(reach / step), np.floor(reach / step) + 1) * step:
        for along, across in (axes, axes[::-1]):
            ends[:] = 0
            ends[:, along] = tick
            ends[:, across] = (-reach, reach)
            draw.line(at(ends), fill=_GRID)
        ends[:] = 0
        ends[0, axes[0]] = tick
        u = at(ends)[0][0]
        draw.text((u - 8, _HEADING + _PANEL - _MARGIN + 4), f"{tick:g}", _INK, font)
        ends[:] = 0
        ends[0, axes[1]] = tick
        draw.text((left + 6, at(ends)[0][1] - 8), f"{tick:g}", _INK, font)
    draw.text((left + _MARGIN, _HEADING + _MARGIN - 18), title, _INK, font)
    draw.text((left + _PANEL - 22, _HEADING + _PANEL - _MARGIN + 4), f"{'xyz'[axes[0]]} >", _INK, font)
    draw.text((left + 6, _HEADING + _MARGIN - 18), f"{'xyz'[axes[1]]} ^", _INK, font)
    half = np.full(3, OBJECT_EDGE / 2)
    (x0, y1), (x1, y0) = at(np.stack([-half, half]))
    draw.rectangle((x0, y0, x1, y1), outline=_BOX, width=2)
    for i, frustum in enumerate(frusta):
        share = i / max(len(frusta) - 1, 1)
        colour = (round(30 + 190 * share), 60, round(220 - 190 * share))
        apex, *base = at(frustum)
        for corner in base:
            draw.line([apex, corner], fill=colour)
        draw.line([*base, base[0]], fill=colour, width=2)
        draw.ellipse((apex[0] - 2, apex[1] - 2, apex[0] + 2, apex[1] + 2), fill=colour)
        if len(frusta) <= 40:
            draw.text((apex[0] + 3, apex[1] - 14), str(i), colour, font)


def _range(values: torch.Tensor) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
