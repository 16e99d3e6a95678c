"""``wsss-zoo methods``: list the methods from their source code, without importing torch."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

import wsss_zoo

#: Labels that the user needs, by supervision.
LABELS = {
    "mask": "masks (or pseudo-labels)",
    "image_labels": "tags for every image",
    "images": "none: images alone",
    "pairs": "tags for every image",
    "semi": "a few masks, many images",
    "sparse": "scribbles, points, boxes or part masks",
    "graphs": "region graphs, from a few masks and tags",
    "weak_shot": "masks of some classes, tags of the others",
}
_METHODS = Path(wsss_zoo.__file__).parent / "methods"


class MethodEntry(NamedTuple):
    """One line of the table: what a method trains on, and the first line of its docstring."""

    supervision: str
    summary: str

    @property
    def labels_needed(self) -> str:
        """Labels that the method needs, in words."""
        return LABELS.get(self.supervision, self.supervision)


def list_methods() -> int:
    """List the methods, the labels that each needs, and what it is.

    wsss-zoo fit --model.help NAME lists a method's options.
    """
    table = Table("method", "labels it needs", "what it is", box=None, pad_edge=False)
    for name, method in read_methods().items():
        table.add_row(name, method.labels_needed, method.summary)
    console = Console()
    console.print(table)
    console.print(
        "\nOptions of a method: wsss-zoo fit --model.help NAME. ST and ST++ are pipelines: "
        "experiments/pipelines/st.yaml, st_plus_plus.yaml.",
        highlight=False,
    )
    return 0


def read_methods(folder: Path = _METHODS) -> dict[str, MethodEntry]:
    """Read the subclasses of ``BaseMethod`` below a folder, sorted by name.

    Bases, whose names end with "Method", are left out.
    """
    classes = {
        node.name: node
        for path in sorted(folder.rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    lineages = {name: list(_lineage(name, classes)) for name in sorted(classes)}
    return {
        name: MethodEntry(_supervision(lineage), _summary(lineage[0]))
        for name, lineage in lineages.items()
        if any(node.name == "BaseMethod" for node in lineage) and not name.endswith("Method")
    }


def _lineage(name: str, classes: Mapping[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    """Yield a class and its ancestors in the folder, the nearest first."""
    if name in classes:
        yield classes[name]
        for base in classes[name].bases:
            yield from _lineage(ast.unparse(base).partition("[")[0].rpartition(".")[2], classes)


def _supervision(lineage: list[ast.ClassDef]) -> str:
    for node in (statement for ancestor in lineage for statement in ancestor.body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(target) == "supervision":
                return str(node.value.value)
    raise ValueError(f"class {lineage[0].name} has no supervision; set it to one of {list(LABELS)}")


def _summary(node: ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0].replace("``", "")
