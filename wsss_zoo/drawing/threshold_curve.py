"""Curve over the background threshold, with the one that was chosen."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

_CURVE, _INK = "#2563eb", "#1f2933"


def draw_threshold(
    thresholds: Sequence[float], separation: Sequence[float], chosen: float, title: str
) -> bytes:
    """Draw the separation at each threshold and a line at the chosen one, as a PNG file."""
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(6.4, 3.4), dpi=120, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
        axes.plot(thresholds, separation, color=_CURVE)
        axes.axvline(chosen, color=_INK, linestyle="--", label=f"bg_threshold {chosen:g}")
        axes.set(xlim=(0, 1), xlabel="background threshold")
        axes.set(ylim=(0, None), ylabel="share of the scores' variance")
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        buffer = io.BytesIO()
        # Without the version of matplotlib the file is the same everywhere.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
