"""Imports go one way: functional <- modules <- methods; data and callbacks know no method.

`contract` and `atomic` lie below all of them.
"""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wsss_zoo"
GROUND = ["atomic", "contract"]
# What each layer may import of the package, besides itself.
ALLOWED = {
    "functional": set(),
    "modules": {"functional"},
    "methods": {"functional", "modules"},
    "data": set(),
    "callbacks": {"functional", "data"},
}
# Modules that are imported before torch is needed; a name may be that of a folder.
WITHOUT_TORCH = [
    "wsss_zoo",
    "wsss_zoo.arguments.given",
    "wsss_zoo.cli.main",
    "wsss_zoo.arguments.checks",
    "wsss_zoo.arguments.command_parser",
    "wsss_zoo.cli.error_advice",
    "wsss_zoo.arguments.help_texts",
    "wsss_zoo.cli.method_table",
    "wsss_zoo.pipeline.command",
    "wsss_zoo.pipeline.summary",
    "wsss_zoo.pipeline.recipe",
    "wsss_zoo.pipeline.linked_runs",
]


def imports_of(path: Path) -> set[str]:
    """Sub-packages of wsss_zoo that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("wsss_zoo.")}
    return found


@pytest.mark.parametrize("layer", ALLOWED)
def test_imports_go_one_way(layer):
    files = list((PACKAGE / layer).rglob("*.py"))
    assert files
    for path in files:
        breach = imports_of(path) - ALLOWED[layer] - {*GROUND} - {layer}
        assert not breach, f"{path.name} of {layer} imports {breach}"


def test_the_walk_sees_a_breach(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    from wsss_zoo.methods import CAM\n")
    assert imports_of(tmp_path / "a.py") == {"methods"}


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_floor_imports_nothing_of_the_package(name):
    assert not imports_of(PACKAGE / f"{name}.py")


@pytest.mark.parametrize("layer", ["functional", "modules", "data"])
def test_lightning_stays_out_of_the_lower_layers(layer):
    allowed = {"base.py", "loaders.py"} if layer == "data" else set()
    for path in (PACKAGE / layer).rglob("*.py"):
        if path.name not in allowed:
            assert "pytorch_lightning" not in path.read_text(), path


# Readers and writers of files: they know no data set, and need no Lightning and no torch.
FILES = [
    *("file_listing", "image_decoding", "label_folder", "manifests", "pseudo_labels"),
    *("region_graphs", "text_files"),
]


def test_files_know_no_data_set():
    graph = import_graph(PACKAGE)
    known = {"wsss_zoo.files.atomic", *(f"wsss_zoo.data.{name}" for name in FILES)}
    for name in FILES:
        assert graph[f"wsss_zoo.data.{name}"] <= known
        assert "import torch" not in (PACKAGE / f"data/{name}.py").read_text()


def module_of(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")


def import_graph(root: Path) -> dict[str, set[str]]:
    """Modules of a package that each of its modules imports, those for type checkers included."""
    modules = {module_of(path, root): path for path in root.rglob("*.py")}
    graph = {}
    for module, path in modules.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found.add(inner if inner in modules else node.module)
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        graph[module] = found & modules.keys() - {module}
    return graph


def test_no_import_leads_back():
    TopologicalSorter(import_graph(PACKAGE)).prepare()


def test_a_circle_is_found(tmp_path):
    root = tmp_path / "package"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text("from package import b\n")
    (root / "b.py").write_text("if TYPE_CHECKING:\n    from package.a import A\n")
    with pytest.raises(CycleError, match=r"package\.a"):
        TopologicalSorter(import_graph(root)).prepare()


def test_the_command_line_starts_without_torch():
    code = f"import sys, {', '.join(WITHOUT_TORCH)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
