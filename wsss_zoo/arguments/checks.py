"""Check the names that the user typed, and word the errors."""

import difflib
import inspect
import pkgutil
import re
from typing import Any

from wsss_zoo.arguments.given import Setting


def subclasses(base: type) -> dict[str, type]:
    """List the concrete subclasses of ``base`` that a user can name, sorted by name."""
    found: dict[str, type] = {}
    child: type
    for child in base.__subclasses__():
        own: dict[str, type] = {} if inspect.isabstract(child) else {child.__name__: child}
        found |= own | subclasses(child)
    return dict(sorted(found.items()))


def loaded_class(base: type, class_path: str) -> type[Any] | None:
    """Find the loaded subclass of ``base`` that a file names, by name or import path, or None."""
    known = subclasses(base)
    if "." not in class_path or class_path.startswith("wsss_zoo."):
        return known.get(short_name(class_path))
    paths = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in known.values()}
    return paths.get(class_path)


def short_name(class_path: str) -> str:
    """Take the last part of a dotted class path.

    >>> short_name("wsss_zoo.methods.tags.cam.CAM")
    'CAM'
    """
    return class_path.rsplit(".", 1)[-1]


def short_message(message: str) -> str:
    r"""Shorten jsonargparse's message about a bad module to the problem.

    >>> short_message(
    ...     "Parser key 'model':\n Subtypes: [BaseMethod, NoneType]\n Errors:\n"
    ...     " - Problem with given class_path 'wsss_zoo.CAM':\n  Option 'lrr' is not accepted\n"
    ...     " - Expected a NoneType"
    ... )
    "CAM: Option 'lrr' is not accepted"
    """
    pattern = r"Problem with given class_path '([^']+)':\s+(.+?)(\n\s*- |\n\s*Given value|$)"
    match = re.search(pattern, message, re.DOTALL)
    if match is not None:
        text = f"{match[1].removeprefix('wsss_zoo.')}: {' '.join(match[2].split())}"
    elif 'Parser key "trainer.logger"' in message:
        return (
            "trainer.logger: that is no logger; give --trainer.logger WandbLogger and after it its "
            "options (--trainer.logger.project P) and further loggers (--trainer.logger+ CSVLogger)"
        )
    else:
        text = re.sub(r'^Parser key "', 'Parser key "--', message)
    text = re.sub(r'Parser key "([-\w.]+)":\s+', r"\1: ", text)
    # Types by their names.
    return re.sub(r"an? (<class '([\w.]+)'>|typing\.)", r"\2", text)


def cut_message(message: str, lines: int = 10, characters: int = 1500) -> str:
    r"""Cut a message to what a person reads, at the end of a line or word.

    >>> cut_message("a list:\n1\n2\n3", lines=2)
    'a list:\n1\n.. (2 more lines; WSSS_ZOO_TRACEBACK=1 shows all)'
    >>> cut_message("one two three four", characters=8)
    'one two .. (11 more characters; WSSS_ZOO_TRACEBACK=1 shows all)'
    """
    all_lines = message.splitlines()
    if len(all_lines) > lines:
        left = f".. ({len(all_lines) - lines} more lines; WSSS_ZOO_TRACEBACK=1 shows all)"
        shown = [cut_message(line, characters=characters) for line in all_lines[:lines]]
        return "\n".join([*shown, left])
    if len(message) <= characters:
        return message
    kept = message[:characters].rsplit(" ", 1)[0]
    left = f"{len(message) - len(kept)} more characters; WSSS_ZOO_TRACEBACK=1 shows all"
    return f"{kept} .. ({left})"


def supervision_of(class_path: str) -> str:
    """Look up the supervision of a method by its class path."""
    return str(pkgutil.resolve_name(class_path).supervision)


def check_name(key: str, given: Setting | None, base: type) -> None:
    """Raise ValueError if ``--model`` or ``--data`` is missing or names no subclass of ``base``."""
    known = subclasses(base)
    kind = {"model": "method", "data": "data set"}[key]
    there_are = f"there are: {', '.join(known)}"
    if given is None:
        raise ValueError(f"--{key} is missing: name the {kind}; {there_are}")
    name = str(given.value)
    if name in known or "." in name:
        return
    lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f" (did you mean {lower[close[0]]}?)" if close else ""
    raise ValueError(
        f"{given.source}: there is no {kind} {name!r}{hint}; {there_are}; name your own class by "
        "its import path, package.module.Class"
    )


def check_supervision(given: Setting | None, model_class_path: str) -> None:
    """Raise ValueError if the user gave a ``data.supervision`` other than the method's."""
    needed = supervision_of(model_class_path)
    if given is not None and given.value != needed:
        raise ValueError(
            f"{given.source}: supervision {given.value!r} is given, but "
            f"{short_name(model_class_path)} learns from {needed!r}; remove it: the method sets it"
        )
