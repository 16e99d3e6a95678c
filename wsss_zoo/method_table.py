"""``wsss-zoo methods``: the zoo at a glance."""

import argparse

from rich.console import Console
from rich.table import Table

import wsss_zoo.methods  # noqa: F401  (importing is what makes the methods known)
from wsss_zoo.cli_checks import subclasses
from wsss_zoo.methods.base import BaseMethod

#: What each regime of the data module asks of the user's labels.
LABELS = {
    "mask": "masks (or pseudo-labels)",
    "image_labels": "tags for every image",
    "images": "none: images alone",
    "pairs": "tags for every image",
    "semi": "a few masks, many images",
    "graphs": "region graphs, from a few masks and tags",
    "weak_shot": "masks of some classes, tags of the others",
}


def main(args: list[str]) -> int:
    """Print each method with the labels it needs and the first line of its description.

    Args:
        args: Arguments after ``methods``.

    Returns:
        0.
    """
    argparse.ArgumentParser(
        "wsss-zoo methods",
        description="List the methods: the labels that each needs, and what it is.",
        epilog="wsss-zoo fit --model.help NAME lists a method's options.",
    ).parse_args(args)
    table = Table("method", "labels it needs", "what it is", box=None, pad_edge=False)
    for name, method in subclasses(BaseMethod).items():
        table.add_row(name, labels_needed(method), summary(method))
    console = Console()
    console.print(table)
    console.print(
        "\nOptions of one: wsss-zoo fit --model.help NAME. Self-training (ST, ST++) is a pipeline: "
        "experiments/pipelines/st.yaml, st_plus_plus.yaml.",
        highlight=False,
    )
    return 0


def labels_needed(method: type) -> str:
    """The labels that a method needs, in words; a regime without any by its name."""
    regime: str = method.supervision  # type: ignore[attr-defined]
    return LABELS.get(regime, regime)


def summary(method: type) -> str:
    """First line of a method's description, as plain text."""
    return (method.__doc__ or "").strip().splitlines()[0].replace("``", "")
