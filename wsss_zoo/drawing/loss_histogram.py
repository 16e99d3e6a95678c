"""Histogram of the losses of correct and wrong labels, with the thresholds between them."""

import io
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_BINS = 60
# Share of the losses that the scale covers; the rest goes to the last bin.
_SHOWN = 0.995
_CORRECT, _WRONG, _INK = "#2563eb", "#dc2626", "#1f2933"


def draw_losses(
    losses: NDArray[np.float32],
    is_correct: NDArray[np.bool_],
    thresholds: Mapping[str, float | None],
    title: str,
) -> bytes:
    """Draw histograms of the losses of correct and wrong labels (P,), as a PNG file.

    Bars are shares of all pixels, on a logarithmic scale; the last one holds all larger losses too.
    Each threshold that is not None gets a line.
    """
    lines = {name: value for name, value in thresholds.items() if value is not None}
    finite = losses[np.isfinite(losses)]
    highest = float(np.quantile(finite, _SHOWN)) if finite.size else 1.0
    top = max([highest, *(1.1 * value for value in lines.values()), 1e-6])
    edges = np.linspace(0, top, _BINS + 1)
    clipped = np.minimum(losses, top)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(6.4, 3.4), dpi=120, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
        groups = (("correct", is_correct, _CORRECT), ("wrong", ~is_correct, _WRONG))
        for name, chosen, color in groups:
            share = np.histogram(clipped[chosen], edges)[0] / losses.size
            label = f"{name} labels ({chosen.mean():.1%} of the pixels)"
            axes.stairs(share, edges, fill=True, alpha=0.3, color=color)
            axes.stairs(share, edges, color=color, label=label)
        for (name, value), style in zip(lines.items(), ("-", "--"), strict=False):
            axes.axvline(value, color=_INK, linestyle=style, label=f"{name} {value:.3g}")
        axes.set_yscale("log")
        axes.set(xlim=(0, top), xlabel="loss of the label", ylabel="share of the pixels")
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        buffer = io.BytesIO()
        # Without the version of matplotlib the file is the same everywhere.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
