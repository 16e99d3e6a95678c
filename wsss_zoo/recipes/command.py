"""``wsss-zoo recipes``: list the recipes of the package, or print one."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsss_zoo.arguments.command_parser import UsageError, usage_errors
from wsss_zoo.recipes.shipped import Kind, find_recipe, first_line, shipped_recipes

_TITLES: dict[Kind, str] = {
    "pipeline": "several steps: wsss-zoo pipeline NAME --data.root DIR",
    "fit": "one training: wsss-zoo fit --config NAME --data.root DIR",
}


def list_recipes(name: str = "", *, kind: Kind | None = None) -> int:
    """List the recipes that come with the package, or print one.

    A recipe is a YAML file. Its name works where its path does: wsss-zoo pipeline tags_folder. To
    change one, save it (wsss-zoo recipes tags_folder > mine.yaml), edit it, and name that file.

    Args:
        name: Print this recipe.
        kind: Only recipes of wsss-zoo fit, or of wsss-zoo pipeline; some names are of both.

    Returns:
        0.
    """
    kinds: list[Kind] = list(_TITLES) if kind is None else [kind]
    if name:
        with usage_errors():
            print(_find(name, kinds).read_text(encoding="utf-8"), end="")
        return 0
    console = Console()
    for each in kinds:
        table = Table(title=_TITLES[each], title_justify="left", box=None, pad_edge=False)
        table.add_column("name", no_wrap=True)
        table.add_column("what it is")
        for known, path in shipped_recipes(each).items():
            table.add_row(Text(known), Text(first_line(path)))
        console.print(table)
        console.print()
    return 0


def _find(name: str, kinds: list[Kind]) -> Path:
    found = [each for each in kinds if name in shipped_recipes(each)]
    if len(found) > 1:
        raise UsageError(f"{name} is a recipe of {' and of '.join(found)}; add --kind {found[0]}")
    # Without any, the error proposes a name.
    return find_recipe(name, found[0] if found else kinds[0])
