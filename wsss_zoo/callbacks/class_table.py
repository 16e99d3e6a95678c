"""One number per class on the terminal."""

from rich.console import Console
from rich.table import Table


def print_class_table(
    title: str, column: str, per_class: dict[str, float], totals: dict[str, float]
) -> None:
    """Print numbers per class, then totals below a line.

    Args:
        title: What was measured.
        column: What the numbers per class are.
        per_class: Number by class name, in [0, 1]; nan prints as a dash.
        totals: Further numbers by name.
    """
    table = Table()
    table.add_column("class")
    table.add_column(column, justify="right")
    for name, value in per_class.items():
        table.add_row(name, "-" if value != value else f"{value:.4f}")
    table.add_section()
    for name, value in totals.items():
        table.add_row(name, f"{value:.4f}", style="bold")
    console = Console()
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    console.print(table)
