"""Figures as a picture: lines over something that grows, each in a panel of its own, from 0 to its highest."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

HEIGHT, MARGIN = 110, 46
STYLE = "text{font:12px sans-serif}polyline{fill:none;stroke:#1f77b4}line{stroke:#ccc}circle{fill:#1f77b4}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One line, and what stands above it."""

    title: str
    points: Sequence[tuple[float, float]]
    far: float
    most: float
    """How far the panel reaches to the right, and how high."""
    dotted: bool = False
    """Whether each of its points is marked, since there are few."""

    def drawn(self, left: float, top: float, width: float) -> str:
        """The panel at that place."""
        at = [(left + width * x / self.far, top + HEIGHT * (1 - y / self.most)) for x, y in self.points]
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in at if self.dotted)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        return (
            f'<text x="{left}" y="{top - 6}">{escape(self.title)}</text>'
            f'<line x1="{left}" x2="{left + width}" y1="{top + HEIGHT}" y2="{top + HEIGHT}"/>'
            f'<polyline points="{line}"/>{dots}'
        )


def plot(rows: Sequence[Sequence[Panel]], width: float) -> str:
    """Rows of panels that are so wide, as SVG."""
    drawn = [
        panel.drawn(MARGIN + column * (width + MARGIN), MARGIN + row * (HEIGHT + MARGIN), width)
        for row, panels in enumerate(rows)
        for column, panel in enumerate(panels)
    ]
    wide = max(map(len, rows)) * (width + MARGIN) + MARGIN
    high = len(rows) * (HEIGHT + MARGIN) + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}">'
        f"<style>{STYLE}</style>{''.join(drawn)}</svg>\n"
    )
