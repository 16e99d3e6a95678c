"""Checks of the options that methods take."""

import inspect
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints


def option_types(kind: type) -> dict[str, Any]:
    """Types of all options of a method by name, with those that it hands on to its bases.

    Args:
        kind: Class of the method.
    """
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        hints = _hints(base)
        for parameter in parameters:
            if parameter.kind is not parameter.VAR_KEYWORD:
                found.setdefault(parameter.name, hints.get(parameter.name, Any))
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    fixed = getattr(kind, "fixed_options", ())
    return {name: hint for name, hint in found.items() if name not in fixed}


def _hints(base: type) -> dict[str, Any]:
    try:
        return get_type_hints(base.__init__)
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}


def check_choices(kind: type, options: Mapping[str, Any]) -> None:
    """Check the options of a method whose type is a `Literal`.

    Args:
        kind: Class of the method.
        options: Values by name.

    Raises:
        ValueError: If a value is not one of its choices.
    """
    for name, hint in option_types(kind).items():
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
