"""The notebooks run, and what is committed of them is small, clean and names no machine."""

import base64
import getpass
import importlib.util
import os
import re
import socket
import tempfile
from pathlib import Path

import nbformat
import pytest

from tests.command_server import commands_on_path

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
names = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# Pictures that each notebook shows.
PICTURES = {
    "01_quickstart": 2,
    "02_compare_methods": 1,
    "03_your_own_data": 4,
    "04_write_a_method": 2,
}
# Run after the last cell, in the same kernel: what a reader is promised to see.
PROMISES = {
    "01_quickstart": """
assert tag_scores["val/map"] > 0.8
assert mask_scores["val/miou"] > 0.4
""",
    "02_compare_methods": """
assert [len(runs[method]) for method in methods] == [3, 3]
assert "FixMatch" in (work / "report.html").read_text()
""",
    "03_your_own_data": """
assert len(list(written.glob("*.png"))) == 160
assert 0 < len(wrong) < 60
""",
    "04_write_a_method": """
from wsss_zoo.runs import read_metrics
names = ("Supervised", "my_method.MasksAndTags")
logs = [read_metrics(folder / name / "metrics.csv") for name in names]
final = [[float(row["val/miou"]) for row in log if "val/miou" in row][-1] for log in logs]
assert final[0] < final[1]
""",
}
# What makes the quick test quick: every cell runs, on fewer images and for fewer steps.
SHORTER = {
    "01_quickstart": [
        ("num_train=600, num_val=150", "num_train=60, num_val=50"),
        ("make_trainer(200", "make_trainer(4"),
        ("make_trainer(120", "make_trainer(4"),
    ],
    "02_compare_methods": [
        ("num_train=600, num_val=90", "num_train=200, num_val=40"),
        ("range(3)", "range(2)"),
        ("max_steps: 60", "max_steps: 4"),
        ("val_check_interval: 20", "val_check_interval: 2"),
        ('"--trainer.max_steps", "40"', '"--trainer.max_steps", "2"'),
    ],
    "03_your_own_data": [
        ("while number < 160", "while number < 48"),
        ("--trainer.max_steps 120", "--trainer.max_steps 4"),
        ("--trainer.val_check_interval 40", "--trainer.val_check_interval 2"),
    ],
    "04_write_a_method": [
        ("num_train=600, num_val=150", "num_train=100, num_val=20"),
        ("max_steps: 150", "max_steps: 4"),
        ("val_check_interval: 50", "val_check_interval: 2"),
    ],
}
MACHINE = re.compile(r"(?<![\w.<])/(?:home|root|work|tmp|mnt|data|usr|opt|var|Users)/|[A-Z]:\\")
IMAGES = ("image/png", "image/jpeg", "image/svg+xml")


def load_refresh():
    path = NOTEBOOKS[0].parent / "refresh.py"
    spec = importlib.util.spec_from_file_location("refresh", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


refresh = load_refresh()


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures(notebook):
    """Bytes of all pictures."""
    data = [output.get("data", {}) for output in outputs(notebook)]
    return [base64.b64decode(d[kind]) for d in data for kind in IMAGES if kind in d]


def texts(notebook):
    """All that is printed, and other representations of what is shown."""
    for output in outputs(notebook):
        if output.output_type == "stream":
            yield output.text
        for kind, text in output.get("data", {}).items():
            if kind not in IMAGES:
                yield str(text)


def check_outputs(notebook, name):
    """What holds for the committed outputs holds for fresh ones too."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert len(pictures(notebook)) == PICTURES[name]
    assert max(map(len, pictures(notebook))) <= 60_000
    for text in texts(notebook):
        assert not re.search("warning|traceback|deprecat", text, re.IGNORECASE), text
        assert not MACHINE.search(text), text
        assert socket.gethostname() not in re.split(r"[^\w-]", text), text
        assert getpass.getuser() not in re.split(r"[^\w.]", text), text


def test_every_notebook_is_known():
    assert [path.stem for path in NOTEBOOKS] == sorted(PICTURES) == sorted(PROMISES)


@names
def test_committed_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size <= 170_000
    check_outputs(notebook, path.stem)


@names
def test_nothing_changes_from_machine_to_machine(path):
    notebook = nbformat.read(path, as_version=4)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert notebook.metadata == {"kernelspec": kernel, "language_info": {"name": "python"}}
    assert all(not cell.metadata for cell in notebook.cells)
    assert all(re.fullmatch("[a-z][a-z-]+", cell.id) for cell in notebook.cells)
    assert not any(MACHINE.search(cell.source) for cell in notebook.cells)


@names
def test_readme_links_it(path):
    readme = (path.parent.parent / "README.md").read_text()
    assert f"](notebooks/{path.name})" in readme


@pytest.fixture
def quick_commands(monkeypatch):
    """`wsss-zoo` in the notebooks' shells starts at once."""
    with tempfile.TemporaryDirectory() as folder, commands_on_path(Path(folder)) as found:
        monkeypatch.setattr(refresh, "COMMANDS", os.pathsep.join([found, refresh.COMMANDS]))
        yield


@pytest.mark.slow  # CI runs it as a step of its own
@pytest.mark.notebook
@pytest.mark.usefixtures("quick_commands")
@names
def test_every_cell_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    for long, short in SHORTER[path.stem]:
        cells = [cell for cell in notebook.cells if long in cell.source]
        assert cells, f"{path.name} has no {long!r}; correct SHORTER"
        for cell in cells:
            cell.source = cell.source.replace(long, short)
    check_outputs(refresh.run(notebook, tmp_path), path.stem)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.slow
@pytest.mark.notebook
@names
def test_keeps_its_promises(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    promise = nbformat.v4.new_code_cell(PROMISES[path.stem])
    notebook.cells.append(promise)
    fresh = refresh.run(notebook, tmp_path)
    assert not promise.outputs
    fresh.cells.pop()
    check_outputs(fresh, path.stem)
