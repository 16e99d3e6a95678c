"""One number per class on the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_class_table(
    title: str, by_class: dict[str, dict[str, float]], totals: dict[str, float]
) -> None:
    """Print a table of numbers per class, then totals below a line.

    Args:
        title: What was measured.
        by_class: For each measure its number by class name, in [0, 1]; nan prints as a dash.
        totals: Further numbers by name.
    """
    # Names are the user's: in a Text no bracket is markup.
    table = Table(show_header=bool(by_class))
    table.add_column("class" if by_class else "")
    for measure in by_class:
        table.add_column(measure, justify="right")
    for name in next(iter(by_class.values()), {}):
        values = [classes[name] for classes in by_class.values()]
        table.add_row(Text(name), *("-" if value != value else f"{value:.4f}" for value in values))
    table.add_section()
    for name, value in totals.items():
        table.add_row(Text(name), f"{value:.4f}", style="bold")
    console = Console()
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    console.print(table)
