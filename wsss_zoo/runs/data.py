"""Make the data module of a run's configuration, without importing what only the file names."""

import pkgutil
from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from wsss_zoo.arguments.checks import loaded_class, subclasses
from wsss_zoo.data import BaseDataModule  # this import makes all data modules known


def make_data(config: Mapping[str, Any], asked: str | None = None) -> BaseDataModule:
    """Make the data module of a configuration.

    Args:
        config: ``class_path`` and ``init_args``, from the file of a run.
        asked: Import path of the user's own class, as the user gave it. Nothing else is imported.

    Raises:
        ValueError: If there is no such data module, it does not take the arguments, or one of them
            names a class, which the parser would import.
    """
    class_path = str(config.get("class_path"))
    if class_path == asked and "." in class_path:
        pkgutil.resolve_name(class_path)
    kind = loaded_class(BaseDataModule, class_path)
    if kind is None:
        raise ValueError(
            f"{class_path!r} is no data set of wsss_zoo, and nothing is imported because the file "
            f"of a run names it; there are: {', '.join(subclasses(BaseDataModule))}"
        )
    options = config.get("init_args") or {}
    if _names_a_class(options) or not isinstance(options.get("augmentation", {}), Mapping):
        raise ValueError(
            f"the options of {class_path} name a class; only plain values are taken from a run's "
            "files"
        )
    own = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": options}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data")
    try:
        data: BaseDataModule = parser.instantiate(parser.parse_object({"data": own})).data
    except ArgumentError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{kind.__name__} does not take the options of the run: {reason}"
        ) from error
    return data


def _names_a_class(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "class_path" in value or any(map(_names_a_class, value.values()))
    return isinstance(value, list | tuple) and any(map(_names_a_class, value))
