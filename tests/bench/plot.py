"""Curves as a picture."""

from collections.abc import Sequence
from html import escape

from tests.bench.curves import Curve, Point

WIDTH, HEIGHT, MARGIN = 300, 120, 46


def plot(curves: Sequence[Curve]) -> str:
    """A row for each curve: its CPU on the left, its memory on the right, each from 0 to its highest."""
    panels = [
        _panel(row, column, title, [(point.many, _figure(point, column)) for point in curve.points])
        for row, curve in enumerate(curves)
        for column, title in enumerate((f"{curve.unit} by {curve.of}", f"MiB by {curve.of}"))
    ]
    style = "text{font:12px sans-serif}polyline{fill:none;stroke:#1f77b4}line{stroke:#ccc}circle{fill:#1f77b4}"
    wide, high = 2 * (WIDTH + MARGIN) + MARGIN, len(curves) * (HEIGHT + MARGIN) + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}">'
        f"<style>{style}</style>{''.join(panels)}</svg>\n"
    )


def _figure(point: Point, column: int) -> float:
    return point.rss if column else point.cpu


def _panel(row: int, column: int, title: str, points: Sequence[tuple[int, float]]) -> str:
    left, top = MARGIN + column * (WIDTH + MARGIN), MARGIN + row * (HEIGHT + MARGIN)
    far, most = max(x for x, _ in points) or 1, max(y for _, y in points) or 1.0
    at = [(left + WIDTH * x / far, top + HEIGHT * (1 - y / most)) for x, y in points]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in at)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    return (
        f'<text x="{left}" y="{top - 8}">{escape(title)}: to {most:.3g} at {far}</text>'
        f'<line x1="{left}" x2="{left + WIDTH}" y1="{top + HEIGHT}" y2="{top + HEIGHT}"/>'
        f'<polyline points="{line}"/>{dots}'
    )
