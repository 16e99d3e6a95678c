"""One number per class on the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_class_table(
    title: str, by_class: dict[str, dict[str, float]], totals: dict[str, float]
) -> None:
    """Print a table of the numbers of each measure by class, then totals; nan is a dash."""
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
