"""Find the recipes that travel with the package, by name."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wsss_zoo.arguments.given import option_groups, option_key

Kind = Literal["fit", "pipeline"]

_HERE = Path(__file__).parent
# In the repository recipes are written in experiments/; a wheel has a copy.
_PLACES = (_HERE / "shipped", _HERE.parents[1] / "experiments")
_PIPELINES, _OTHERS = "pipelines", ("sweeps",)
_SUFFIXES = (".yaml", ".yml", ".json")


def shipped_folder() -> Path:
    """Return the folder of the recipes.

    Raises:
        FileNotFoundError: If the package was installed without them.
    """
    for folder in _PLACES:
        if (folder / _PIPELINES).is_dir():
            return folder
    raise FileNotFoundError(
        f"the recipes are missing: there is no {_PLACES[0]}; install wsss_zoo again from its wheel"
    )


def shipped_recipes(kind: Kind) -> dict[str, Path]:
    """List the recipes of ``wsss-zoo fit --config NAME`` or ``wsss-zoo pipeline NAME``, by name.

    Names are paths without suffix: ``fixmatch``, ``voc_animals/fixmatch``, ``tags_folder``.
    """
    folder = shipped_folder()
    if kind == "pipeline":
        return {path.stem: path for path in sorted((folder / _PIPELINES).glob("*.yaml"))}
    named = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
    }
    left_out = (_PIPELINES, *_OTHERS)
    return {name: path for name, path in named.items() if name.partition("/")[0] not in left_out}


def find_recipe(given: str, kind: Kind) -> Path:
    """Find the recipe that a user names: a file of that path, else one of the package.

    Args:
        given: Path of a file, or name of a shipped recipe.
        kind: For which command.

    Raises:
        FileNotFoundError: If there is neither; the message proposes a name.
    """
    path = Path(given)
    if path.exists():  # who reads it says what is wrong with a folder
        return path
    known = shipped_recipes(kind)
    if given in known:
        return known[given]
    # experiments/pipelines/tags_folder.yaml, typed where there is no experiments/, is found too.
    tail = path.with_suffix("").as_posix().removeprefix("experiments/")
    tail = tail.removeprefix(f"{_PIPELINES}/") if kind == "pipeline" else tail
    if path.parts[:1] == ("experiments",) and tail in known:
        return known[tail]
    close = difflib.get_close_matches(tail, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise FileNotFoundError(
        f"there is no file {given}, and no recipe of that name{hint}; wsss-zoo recipes lists them"
    )


def with_shipped_configs(args: Sequence[str]) -> list[str]:
    """Put the paths of shipped recipes in place of their names behind ``--config``.

    A file, and settings written as text (``--config '{..}'``), stay as they are.

    Raises:
        FileNotFoundError: If a name is neither a file nor a recipe.
    """
    found: list[str] = []
    for option, *values in option_groups(args):
        if option_key(option) != "config":
            found += [option, *values]
            continue
        _, equals, text = option.partition("=")
        given = text if equals else (values[0] if values else "")
        found += ["--config", _config(given), *values[1:]] if given else [option, *values]
    return found


def _config(given: str) -> str:
    is_text = "\n" in given or ":" in given or given.lstrip().startswith("{")
    # Text of one word is no mapping, so it can only be a name.
    return given if is_text and not given.endswith(_SUFFIXES) else str(find_recipe(given, "fit"))


def first_line(path: Path) -> str:
    """Read what a recipe is, and whether it was measured: its first comment."""
    with path.open(encoding="utf-8") as file:
        return file.readline().strip().removeprefix("#").strip()
