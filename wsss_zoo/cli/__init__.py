"""The command line, ``wsss-zoo``."""

from typing import Any

from wsss_zoo.cli.main import main

__all__ = ["ZooCLI", "main"]


def __getattr__(name: str) -> Any:
    # Only ZooCLI needs the import of torch.
    if name == "ZooCLI":
        from wsss_zoo.cli.training import ZooCLI

        return ZooCLI
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
