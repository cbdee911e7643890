"""Charts as SVG, written by hand: two kinds of axes, lines, areas and dots do not need a library.

The picture knows both themes: it is light, and dark where the reader's system is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Theme = Literal["auto", "light", "dark"]
_LIGHT = {
    "back": "#ffffff",
    "text": "#1f2328",
    "faint": "#59636e",
    "grid": "#d1d9e0",
    "blue": "#0969da",
    "orange": "#bc4c00",
    "green": "#1a7f37",
}
_DARK = {
    "back": "#0d1117",
    "text": "#f0f6fc",
    "faint": "#9198a1",
    "grid": "#3d444d",
    "blue": "#4493f8",
    "orange": "#f0883e",
    "green": "#3fb950",
}
_FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"


def document(width: int, height: int, title: str, parts: Iterable[str], theme: Theme) -> str:
    """Return a whole SVG document."""
    style = _rules(_DARK if theme == "dark" else _LIGHT)
    if theme == "auto":
        style += f"@media (prefers-color-scheme: dark) {{ {_rules(_DARK)} }}"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(title)}" font-family="{_FONT}">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n"
        f'<rect class="back" width="{width}" height="{height}"/>\n{body}\n</svg>\n'
    )


def text(
    x: float, y: float, words: str, kind: str = "text", size: int = 12, anchor: str = "start"
) -> str:
    """Return words at a place; `kind` is a colour's name."""
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str, dashes: str = "") -> str:
    """Return a straight line."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}-line" {ends}{dashed}/>'


def dot(x: float, y: float, kind: str, radius: float = 5) -> str:
    """Return a filled circle."""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


@dataclass(frozen=True)
class Scale:
    """Numbers of an axis to places of the picture."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Axes:
    """A chart's frame: where it is, and what its axes measure."""

    x: Scale
    y: Scale

    def frame(self, title: str, x_label: str, y_label: str, x_ticks: Ticks, y_ticks: Ticks) -> str:
        """Return grid, numbers and labels."""
        left, right, low, high = self.x.start, self.x.end, self.y.start, self.y.end
        parts = [text(left, high - 26, title, size=15)]
        for value, words in y_ticks:
            place = self.y.at(value)
            parts.append(line(left, place, right, place, "grid"))
            parts.append(text(left - 8, place + 4, words, "faint", 11, "end"))
        for value, words in x_ticks:
            place = self.x.at(value)
            parts.append(line(place, low, place, low + 5, "faint"))
            parts.append(text(place, low + 19, words, "faint", 11, "middle"))
        parts.append(line(left, low, right, low, "faint"))
        parts.append(text((left + right) / 2, low + 38, x_label, "faint", 12, "middle"))
        parts.append(text(left, high - 8, y_label, "faint", 11))
        return "\n".join(parts)

    def curve(self, points: Sequence[tuple[float, float]], kind: str, dashes: str = "") -> str:
        """Return a line through points that stays level from each to the next."""
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        return f'<path class="{kind}-line" fill="none" d="{self._steps(points)}"{dashed}/>'

    def area(self, points: Sequence[tuple[float, float]], kind: str) -> str:
        """Return the same, filled down to zero."""
        if not points:
            return ""
        low = self.y.at(0)
        first, last = self.x.at(points[0][0]), self.x.at(points[-1][0])
        path = f"{self._steps(points)} L{last:.1f} {low:.1f} L{first:.1f} {low:.1f} Z"
        return f'<path class="{kind}" fill-opacity="0.25" d="{path}"/>'

    def _steps(self, points: Sequence[tuple[float, float]]) -> str:
        """Return a path; places that hardly differ are left out."""
        parts, before = [], None
        for x, y in points:
            place = round(self.y.at(y), 1)
            if before is None:
                parts.append(f"M{self.x.at(x):.1f} {place}")
            elif place != before:
                parts.append(f"H{self.x.at(x):.1f}V{place}")
            before = place
        if points:
            parts.append(f"H{self.x.at(points[-1][0]):.1f}")
        return "".join(parts)


Ticks = Sequence[tuple[float, str]]


def round_ticks(high: float, most: int = 5) -> list[float]:
    """Return up to `most` + 1 round numbers from 0 to at least `high`."""
    high = max(high, 1e-9)
    step = 10 ** math.floor(math.log10(high / most))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if factor * step * most >= high * 0.999999)
    return [step * place for place in range(math.ceil(high / step * 0.999999) + 1)]


def _rules(colours: dict[str, str]) -> str:
    rules = [f".{name} {{ fill: {colour}; }}" for name, colour in colours.items()]
    widths = {name: 1 if name in ("grid", "faint") else 2 for name in colours}
    rules += [
        f".{name}-line {{ stroke: {colour}; stroke-width: {widths[name]}; }}"
        for name, colour in colours.items()
    ]
    return " ".join(rules)
