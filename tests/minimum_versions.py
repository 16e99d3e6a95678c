"""The oldest versions that pyproject.toml allows, as a requirements file: ``make test-min``."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
# What the tests need, but neither the checkers of types and style nor what runs the notebooks.
_NOT_FOR_TESTS = re.compile(r"(mypy|ruff|nbclient|nbformat|ipykernel|scipy-stubs|types-\w+)\b")


def minimum_versions(text: str) -> list[str]:
    """Requirements of the package, and of its tests, each at its lower bound.

    Where the tests ask for a newer version than the package does, the package's bound counts.

    Args:
        text: Content of pyproject.toml.

    Raises:
        ValueError: If a requirement is not of the form ``name>=version``.
    """
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    bounds: dict[str, str] = {}
    for requirement in [*project["dependencies"], *extras["dev"]]:
        if _NOT_FOR_TESTS.match(requirement):
            continue
        match = re.fullmatch(r"([\w.-]+)(\[[\w,]+\])?>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no lower bound; write name>=version")
        bounds.setdefault(match[1], f"{match[1]}{match[2] or ''}=={match[3]}")
    return list(bounds.values())


if __name__ == "__main__":
    print("\n".join(minimum_versions(PYPROJECT.read_text(encoding="utf-8"))))
