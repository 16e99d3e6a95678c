"""Checks of the options that methods take."""

import inspect
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints


def option_types(kind: type) -> dict[str, Any]:
    """List the types of all options of a method by name.

    A class that takes ``**shared`` has the options of its bases too. Names that begin with ``_``
    are none.

    Args:
        kind: Class of the method.
    """
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        make = vars(base).get("__init__")
        if make is None:
            continue
        try:
            hints = get_type_hints(make)
        except (NameError, TypeError):  # names that exist for type checkers only
            hints = {}
        parameters = list(inspect.signature(make).parameters.values())[1:]
        named = [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
        found |= {name: hints.get(name, Any) for name in named if name not in found}
        if len(named) == len(parameters):
            break
    fixed = getattr(kind, "fixed_options", ())
    return {name: found[name] for name in found if name not in fixed and name[0] != "_"}


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
