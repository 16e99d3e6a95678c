"""Draw data-flow diagrams: pictures, boxes and arrows on one sheet."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray
from PIL import Image

INK, LINE, PAPER = "#1f2933", "#52606d", "#ffffff"
#: Fill and edge of a box: networks, losses, what is kept over steps, and everything else.
KINDS = {
    "network": ("#dbeafe", "#2563eb"),
    "loss": ("#fee2e2", "#dc2626"),
    "memory": ("#dcfce7", "#16a34a"),
    "step": ("#f3f4f6", "#6b7280"),
}
_DPI, _FONT = 150, 8.5
# Side of a picture, inches.
_SIDE = 0.95


@dataclass(frozen=True)
class Node:
    """Start or end of arrows.

    Args:
        x: Centre, inches from the left.
        y: Centre, inches from the top.
        width: Inches.
        height: Inches.
    """

    x: float
    y: float
    width: float
    height: float


class FlowChart:
    """Sheet with drawing methods; coordinates are inches from the top left.

    Args:
        width: Inches.
        height: Inches.
    """

    def __init__(self, width: float, height: float) -> None:
        with mpl.rc_context({"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans"}):
            self.figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=PAPER)
            self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")

    def picture(
        self, x: float, y: float, array: NDArray[np.uint8], caption: str = "", side: float = _SIDE
    ) -> Node:
        """Draw an RGB image (H, W, 3), with a caption above it."""
        half = side / 2
        self.axes.imshow(
            array,
            extent=(x - half, x + half, y + half, y - half),
            interpolation="nearest",
            aspect="auto",
            zorder=2,
        )
        self.axes.set(xlim=(0, self.figure.get_figwidth()), ylim=(self.figure.get_figheight(), 0))
        self.text(x, y - half - 0.05, caption, va="bottom")
        return Node(x, y, side, side)

    def box(self, x: float, y: float, text: str, kind: str, width: float = 1.0) -> Node:
        """Draw a box with centred text of one or several lines."""
        height = 0.24 + 0.15 * len(text.splitlines())
        fill, edge = KINDS[kind]
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.07",
                facecolor=fill,
                edgecolor=edge,
                linewidth=1.2,
                zorder=2,
            )
        )
        self.text(x, y, text, va="center_baseline")
        return Node(x, y, width, height)

    def arrow(
        self,
        start: Node,
        end: Node,
        text: str = "",
        *,
        label: bool = False,
        bend: float = 0.0,
        sides: str = "",
    ) -> None:
        """Draw an arrow from the border of one node to that of another.

        Args:
            start: Where it begins.
            end: Where it points.
            text: Beside its middle.
            label: Dashed: a target, through which no gradient flows.
            bend: Curvature; positive bends to the left of the direction on the sheet.
            sides: Sides that it leaves and enters by, two of l, r, t, b; by default those that face
                each other.
        """
        sides = sides or _facing(start, end)
        a, b = _border(start, sides[0]), _border(end, sides[1])
        self.axes.add_patch(
            FancyArrowPatch(
                a,
                b,
                arrowstyle="-|>,head_length=4,head_width=2.2",
                connectionstyle=f"arc3,rad={bend}",
                linestyle=(0, (4, 2.5)) if label else "-",
                color=LINE,
                linewidth=1.2,
                shrinkA=1,
                shrinkB=1,
                zorder=1,
            )
        )
        if text:
            across = abs(b[0] - a[0]) >= abs(b[1] - a[1])
            x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
            shift = (0, -0.06) if across else (0.08, 0)
            self.text(
                x + shift[0],
                y + shift[1],
                text,
                ha="center" if across else "left",
                va="bottom" if across else "center",
                color=LINE,
            )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        ha: str = "center",
        va: str = "center",
        color: str = INK,
    ) -> None:
        """Write text around or beside a point."""
        self.axes.text(x, y, text, ha=ha, va=va, fontsize=_FONT, color=color, linespacing=1.3)

    def frames(
        self, picture: Node, cells: Sequence[tuple[float, float, float, str]], width: float = 1.0
    ) -> None:
        """Draw squares over a picture.

        Args:
            picture: Where.
            cells: Left, top and side of each as shares of the picture, and its colour.
            width: Of the lines, points.
        """
        for left, top, side, color in cells:
            x, y = picture.x - picture.width / 2, picture.y - picture.height / 2
            self.axes.add_patch(
                FancyBboxPatch(
                    (x + left * picture.width, y + top * picture.height),
                    side * picture.width,
                    side * picture.height,
                    boxstyle="square,pad=0",
                    facecolor="none",
                    edgecolor=color,
                    linewidth=width,
                    zorder=3,
                )
            )

    def save(self, path: Path) -> None:
        """Save as PNG of 256 colours."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        save_small(Image.open(buffer).convert("RGB"), path)


def save_small(image: Image.Image, path: Path) -> None:
    """Save an RGB image as PNG of 256 colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def _facing(start: Node, end: Node) -> str:
    right, below = end.x - start.x, end.y - start.y
    # Between the borders: wide boxes above each other face up and down.
    gap_x = abs(right) - (start.width + end.width) / 2
    gap_y = abs(below) - (start.height + end.height) / 2
    if gap_x >= gap_y:
        return "rl" if right > 0 else "lr"
    return "bt" if below > 0 else "tb"


def _border(node: Node, side: str) -> tuple[float, float]:
    x = {"l": -0.5, "r": 0.5}.get(side, 0.0) * node.width
    y = {"t": -0.5, "b": 0.5}.get(side, 0.0) * node.height
    return node.x + x, node.y + y
