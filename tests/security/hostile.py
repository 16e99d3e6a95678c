"""Files that run code when they are read carelessly, and names that lead elsewhere."""

import os
import sys
from pathlib import Path

import pytest


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


# Ids that lead out of a folder, or are no names.
BAD_IDS = [
    "../../x",
    "/etc/x",
    "a/../../b",
    "a/./b",
    "a//b",
    "..",
    "",
    "C:\\x",
    "C:/x",
    "\\\\host\\x",
    "a\0b",
    "a\nb",
    "a\x1b[31m",
]


@pytest.fixture
def marker(tmp_path):
    """A folder that only a bomb makes; the test fails if it is there in the end."""
    path = tmp_path / "code was run"
    yield path
    assert not path.exists()


@pytest.fixture
def trap(tmp_path, marker, monkeypatch):
    """Name of a module that can be imported, and then makes the folder ``marker``."""
    name = "wsss_zoo_trap"
    place = tmp_path / "modules"
    place.mkdir()
    lines = ["import os", f"os.mkdir({str(marker)!r})", "class Trap:", "    pass"]
    (place / f"{name}.py").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name
