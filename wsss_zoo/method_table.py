"""``wsss-zoo methods``: the zoo at a glance."""

import argparse

from rich.console import Console
from rich.table import Table

import wsss_zoo.methods  # noqa: F401  (importing is what makes the methods known)
from wsss_zoo.cli_checks import subclasses
from wsss_zoo.methods.base import BaseMethod


def main(args: list[str]) -> int:
    """Print each method with the supervision it needs and the first line of its description."""
    argparse.ArgumentParser("wsss-zoo methods", description=__doc__).parse_args(args)
    table = Table("method", "supervision", "what it is", box=None)
    for name, method in subclasses(BaseMethod).items():
        summary = (method.__doc__ or "").strip().splitlines()[0]
        table.add_row(name, method.supervision, summary)  # type: ignore[attr-defined]
    Console().print(table)
    return 0
