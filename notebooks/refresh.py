"""Run the notebooks and keep their outputs.

python notebooks/refresh.py [01_quickstart ...]     # all of them without a name
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
# The commands of the environment that this process runs in, activated or not.
COMMANDS = str(Path(sys.executable).parent)
TIMEOUT = 1800  # seconds for a cell, on a machine that has other things to do


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run all cells in order, in place.

    Args:
        notebook: What to run; its outputs are replaced.
        folder: Where it runs; it leaves ``runs/`` there.

    Raises:
        CellExecutionError: If a cell raises.
    """
    commands = os.pathsep.join([COMMANDS, os.environ.get("PATH", "")])
    # Without these, outputs would tell whose machine it was and what else is installed there.
    environment = {**os.environ, "PATH": commands, "WANDB_MODE": "offline", "COLUMNS": "100"}
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    # The kernel adds its version, which would change with every machine.
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main(names: list[str]) -> None:
    """Run notebooks by their names, all without any, and write them back."""
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(nbformat.read(path, as_version=4), Path(folder))
        nbformat.write(notebook, path)
        print(path.name, f"{path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
