"""Order of the tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the notebooks: of all files they take the longest, and nothing waits for them."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")
