"""Draws curves of cost against size as an SVG, without a library."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log10

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 260, 190, 56, 56, 46, 70
_COLOURS = ("#1764ab", "#b3541e", "#3a7d44")


@dataclass(frozen=True, slots=True)
class Curve:
    """What one side costs, by size."""

    name: str
    points: dict[int, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot."""

    title: str
    curves: Sequence[Curve]


def draw(panels: Sequence[Panel], across: str, up: str) -> str:
    """The panels beside each other; both axes are linear and begin at 0."""
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    height = _TOP + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        "<style>text { font: 11px sans-serif; fill: #333 }</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        left = _LEFT + number * (_WIDTH + _GAP)
        parts.append(f'<g transform="translate({left},{_TOP})">')
        parts += _axes(panel, across, up)
        for place, curve in enumerate(panel.curves):
            parts += _curve(panel, curve, place)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _largest(panel: Panel) -> tuple[int, float]:
    sizes = [size for curve in panel.curves for size in curve.points]
    costs = [cost for curve in panel.curves for cost in curve.points.values()]
    return max(sizes), _rounded_up(max(costs))


def _rounded_up(cost: float) -> float:
    step = 10.0 ** int(log10(cost)) / 2 if cost >= 1 else 1.0
    return ceil(cost / step) * step


def _axes(panel: Panel, across: str, up: str) -> list[str]:
    size, cost = _largest(panel)
    middle = _HEIGHT / 2
    parts = [
        f'<text y="-36" style="font: bold 13px sans-serif">{panel.title}</text>',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 34}" text-anchor="middle">{across}</text>',
        f'<text transform="translate(-44,{middle}) rotate(-90)" text-anchor="middle">{up}</text>',
    ]
    for part in range(5):
        y = _HEIGHT * (1 - part / 4)
        parts.append(f'<path d="M0 {y}H{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="-6" y="{y + 4}" text-anchor="end">{cost * part / 4:g}</text>')
        x, shown = _WIDTH * part / 4, f"{size * part // 4:,}"
        parts.append(f'<text x="{x}" y="{_HEIGHT + 16}" text-anchor="middle">{shown}</text>')
    return parts


def _curve(panel: Panel, curve: Curve, place: int) -> list[str]:
    size, cost = _largest(panel)
    colour = _COLOURS[place]
    points = [
        (_WIDTH * at / size, _HEIGHT * (1 - found / cost)) for at, found in curve.points.items()
    ]
    lines = [f'<path d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" stroke="{colour}" stroke-width="2"/>'
             for (a, b), (c, d) in pairwise(points)]  # fmt: skip
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    y = -22 + place * 14
    name = f'<circle cx="4" cy="{y}" r="4" fill="{colour}"/><text x="13" y="{y + 4}">{curve.name}'
    return [*lines, *dots, f"{name}</text>"]
