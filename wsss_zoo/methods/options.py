"""Checks of the options that methods take."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints


def option_types(kind: type) -> dict[str, Any]:
    """Types of all options of a method by name, with those that it hands on to its bases.

    Args:
        kind: Class of the method.
    """
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        make = vars(base).get("__init__")
        if make is None:
            continue
        parameters, hints = list(inspect.signature(make).parameters.values())[1:], _hints(make)
        for parameter in parameters:
            if parameter.kind is not parameter.VAR_KEYWORD:
                found.setdefault(parameter.name, hints.get(parameter.name, Any))
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    fixed = getattr(kind, "fixed_options", ())
    return {name: hint for name, hint in found.items() if name not in fixed}


def _hints(make: Callable[..., None]) -> dict[str, Any]:
    try:
        return get_type_hints(make)
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}


def check_choices(types: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Check the options whose type is a `Literal`.

    Args:
        types: Types by name; see `option_types`.
        options: Values by name.

    Raises:
        ValueError: If a value is not one of its choices.
    """
    for name, hint in types.items():
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        if choices and name in options and options[name] not in choices:
            *others, last = map(repr, choices)
            known = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(f"{name} is {options[name]!r}; give {known}")


def check_shares(**options: float) -> None:
    """Check options that are shares or probabilities.

    Raises:
        ValueError: If a value is outside [0, 1].
    """
    for name, value in options.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; give a number in [0, 1]")


def check_not_negative(**options: float) -> None:
    """Check options that weight or count something.

    Raises:
        ValueError: If a value is below 0.
    """
    for name, value in options.items():
        if value < 0:
            raise ValueError(f"{name} is {value}; give 0, which switches it off, or more")
