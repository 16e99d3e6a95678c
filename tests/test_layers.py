"""Imports go one way, from floor to floor, and what starts the command line needs no torch."""

import ast
import subprocess
import sys
from collections.abc import Container
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wsss_zoo"
# What each room may import of the package besides itself, the lowest floor first.
MAY_IMPORT = {
    "contract": "",
    "functional": "files",
    "files": "",
    "modules": "functional",
    "data": "contract functional files",
    "drawing": "files",
    "importing": "files data arguments",
    "methods": "contract functional modules",
    "callbacks": "contract functional files data drawing",
    "arguments": "",
    "runs": "contract files modules data methods arguments",
    "inspection": "functional files data drawing importing",
    "deploy": "contract functional files modules data drawing methods callbacks arguments runs",
    "pipeline": "__init__ files data callbacks arguments runs",
    "labeling": "functional files modules data drawing methods arguments runs deploy pipeline",
    "report": "files arguments runs",
    "cli": "__init__ files modules data methods callbacks arguments runs",
    "__main__": "cli",
    "__init__": "modules data methods callbacks deploy",
}
# Rooms and files that import no torch; of `cli`, all but the commands of Lightning.
WITHOUT_TORCH = ["arguments", "files", "data/formats", "importing", "pipeline", "cli"]
WITHOUT_TORCH += ["runs/folder.py", "runs/metrics_csv.py"]
# Importing one of these is importing torch.
HEAVY = {"torch", "torchvision", "torchmetrics", "timm", "pytorch_lightning", "lightning_fabric"}


def modules_of(root: Path) -> dict[str, Path]:
    """Paths of all modules of a package by their dotted names."""
    found = {path.relative_to(root.parent).with_suffix(""): path for path in root.rglob("*.py")}
    return {".".join(p for p in m.parts if p != "__init__"): path for m, path in found.items()}


def imports_of(path: Path, modules: Container[str] = ()) -> set[str]:
    """Modules that a file imports, those in functions and for type checkers included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def room_of(name: str) -> str:
    """Room of a module of the package; that of ``wsss_zoo`` itself is "__init__"."""
    return [*name.split("."), "__init__"][1]


def import_graph(root: Path) -> dict[str, set[str]]:
    """Modules of a package that each of its modules imports."""
    modules = modules_of(root)
    return {
        name: imports_of(path, modules) & modules.keys() - {name} for name, path in modules.items()
    }


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return import_graph(PACKAGE)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room, graph):
    modules = [name for name in graph if room_of(name) == room]
    assert modules
    allowed = {room, *MAY_IMPORT[room].split()}
    for module in modules:
        breach = {name for name in graph[module] if room_of(name) not in allowed}
        assert not breach, f"{module} imports {breach}"


def test_every_room_has_its_floor(graph):
    assert {room_of(name) for name in graph} == set(MAY_IMPORT)
    floors = {room: set(below.split()) for room, below in MAY_IMPORT.items()}
    TopologicalSorter(floors).prepare()


def test_no_import_leads_back(graph):
    TopologicalSorter(graph).prepare()


def test_breaches_and_circles_are_found(tmp_path):
    root = tmp_path / "package"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text("def f():\n    from package import b\n")
    (root / "b.py").write_text("if TYPE_CHECKING:\n    from package.a import A\n")
    graph = import_graph(root)
    assert graph["package.a"] == {"package.b"}
    with pytest.raises(CycleError, match=r"package\.a"):
        TopologicalSorter(graph).prepare()


def test_lightning_stays_out_of_the_lower_floors():
    rooms = ["functional", "modules", "files", "data", "drawing"]
    allowed = {"data/base.py", "data/loading/loaders.py", "drawing/wandb_pictures.py"}
    for path in (path for room in rooms for path in (PACKAGE / room).rglob("*.py")):
        if path.relative_to(PACKAGE).as_posix() not in allowed:
            assert not any(name.startswith("pytorch_lightning") for name in imports_of(path)), path


def test_no_folder_is_crowded():
    for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]:
        assert len(list(folder.glob("*.py"))) <= 20, folder


def test_what_starts_the_command_line_needs_no_torch():
    paths = [PACKAGE / name for name in WITHOUT_TORCH]
    names = [
        name
        for name, path in modules_of(PACKAGE).items()
        if any(map(path.is_relative_to, paths)) and name != "wsss_zoo.cli.training"
    ]
    assert len(names) > 20
    code = f"""
import sys, {", ".join(names)}
from wsss_zoo.runs import read_metrics
assert "VOC2012" in dir(sys.modules["wsss_zoo"])
for arguments in (["--help"], ["methods"]):
    assert wsss_zoo.cli.main(arguments) == 0
print("loaded:", *sorted({HEAVY} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    options = {"capture_output": True, "text": True, "timeout": 300}
    printed = subprocess.run(command, check=True, **options).stdout
    assert printed.splitlines()[-1] == "loaded:"
    assert "wsss-zoo fit" in printed
    assert "UniMatch" in printed
