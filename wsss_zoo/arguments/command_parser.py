"""Make a command of ``wsss-zoo`` from a function's signature and docstring."""

import dataclasses
import inspect
import json
import pkgutil
import re
import shlex
import sys
import typing
from argparse import SUPPRESS, HelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import docstring_parser  # jsonargparse[signatures] brings it
from jsonargparse import ArgumentParser

from wsss_zoo.arguments.checks import check_name, cut_message, short_message
from wsss_zoo.arguments.given import class_first, given_settings, option_groups, option_key

# Parameters that are no options, see `run_command`.
_NO_OPTIONS = {"typed", "other_options"}


# The description that jsonargparse gives the parser of one class.
_CLASS_HELP = re.compile(r"Help for --(\w+)\.help=([\w.]+)")


class UsageError(ValueError):
    """The user typed something wrong: one line and a hint at ``--help``, exit code 2."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn errors about what the user typed, or a file named there, into `UsageError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error


class OneLineErrors(ArgumentParser):
    """A parser whose errors have one line in place of jsonargparse's pages of usage.

    The help of a class (``--model.help FixMatch``) begins with what it does.
    """

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """Show the help; that of a class has its own options first."""
        text = super().format_help(formatter)
        asked = _CLASS_HELP.fullmatch(self.description or "")
        return _order_class_help(text, asked[1], asked[2]) if asked else text

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print a message and end the process with code 2."""
        if not self.exit_on_error:
            # A parser of single values: that of the command words the message.
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        command = parser.prog.replace(" [options]", "")
        # A value that a subcommand lacks is found out by the parser above it.
        choices = getattr(getattr(parser, "_subcommands_action", None), "choices", None) or ()
        command += f" {next(iter(choices))}" if len(choices) == 1 else ""
        hint = f"{command} --help lists all options"
        said = cut_message(short_message(message))
        print(f"{command}: error: {said}", hint, sep="\n", file=sys.stderr)
        sys.exit(2)


class CommandParser(OneLineErrors):
    """The parser of a function's arguments."""

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """Show types by name, and that a flag needs no value."""
        text = re.sub(r"<class\s+'([\w.]+)'>", r"\1", super().format_help(formatter))
        return re.sub(r"(--\w+) {true,false}", r"\1 [{true,false}]", text)


def class_help(parser: type[OneLineErrors], kind: type, key: str) -> str:
    """Write the help of one class, whose options are ``--<key>.<name>``."""
    own = parser(description=f"Help for --{key}.help={kind.__module__}.{kind.__qualname__}")
    own.add_class_arguments(kind, key)
    return own.format_help()


def _order_class_help(text: str, key: str, class_path: str) -> str:
    """Begin with the sentence of the class; then its own options, then those of its bases."""
    kind = pkgutil.resolve_name(class_path)
    _, *options = re.split(rf"^(?=  --{key}\.)", text, flags=re.MULTILINE)
    sentence = (inspect.getdoc(kind) or kind.__name__).partition("\n")[0].replace("``", "")
    own = set(inspect.signature(kind.__init__).parameters) - {"num_classes"}
    parts: dict[bool, list[str]] = {True: [], False: []}
    for option in options:
        name = re.split(r"[\s.,]", option.strip().removeprefix(f"--{key}."), maxsplit=1)[0]
        # The command line takes it from the data.
        if name != "num_classes":
            parts[name in own].append(option)
    titles = {True: f"Options of {kind.__name__}:", False: "Options that others have, too:"}
    blocks = [f"{titles[mine]}\n{''.join(part).rstrip()}" for mine, part in parts.items() if part]
    return "\n\n".join([sentence, *blocks]) + "\n"


def run_command(name: str, function: Callable[..., int], args: Sequence[str]) -> int:
    """Call a function with what the user typed, and return its exit code.

    * Parameters before the ``*`` of the signature are positional, those after it are options. A
      positional one with a default may be left out.
    * A bool option without a value is ``true``. A list is ``[a, b]`` or given value by value.
    * A dash in a name counts as an underscore.
    * ``typed`` gets the whole command line, ``other_options`` the options that the function does
      not name.
    """
    parser = _make_parser(name, function)
    options = _parse(parser, function, args)
    if "typed" in inspect.signature(function).parameters:
        options["typed"] = shlex.join(["wsss-zoo", name, *args])
    try:
        return function(**options)
    except UsageError as error:
        parser.error(str(error))


def parse_options(name: str, function: Callable[..., Any], args: Sequence[str]) -> dict[str, Any]:
    """Parse arguments of a command without running it."""
    return _parse(_make_parser(name, function), function, args)


def _make_parser(name: str, function: Callable[..., Any]) -> CommandParser:
    documented = docstring_parser.parse(inspect.getdoc(function) or "")
    texts = {parameter.arg_name: parameter.description for parameter in documented.params}
    parameters = inspect.signature(function).parameters
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    options = [p for p in parameters.values() if p not in positional and p.name not in _NO_OPTIONS]
    hints = typing.get_type_hints(function)
    required = [p for p in options if p.default is p.empty and not _is_group(hints[p.name])]
    usage = ["wsss-zoo", name, *map(_shown, positional)]
    usage += [f"--{p.name} {p.name.upper()}" for p in required]
    usage += ["[options]"] if options else []
    parser = CommandParser(
        prog=f"wsss-zoo {name}",
        usage=" ".join(usage),
        description=(documented.description or "").replace("``", ""),
        # Else a mistyped option may pass as the prefix of another one.
        allow_abbrev=False,
    )
    if options and "other_options" not in parameters:
        parser.add_argument("--config", action="config", help="YAML file of these options")
    for p in positional:
        many = typing.get_origin(hints[p.name]) is list
        kind = typing.get_args(hints[p.name])[0] if many else hints[p.name]
        shown: dict[str, Any] = {"metavar": p.name.upper(), "help": texts.get(p.name)}
        if many:
            shown["nargs"] = "+"
        elif p.default is not p.empty:
            # The function has the default: one of the parser would undo a config file's value.
            shown |= {"nargs": "?", "default": SUPPRESS}
        parser.add_argument(p.name, type=kind, **shown)
    done: set[str | int] = {*_NO_OPTIONS, *(p.name for p in positional)}
    parser.add_function_arguments(function, as_group=False, skip=done)
    return parser


def _shown(positional: inspect.Parameter) -> str:
    name = positional.name.upper()
    return name if positional.default is positional.empty else f"[{name}]"


def _base_class(kind: Any) -> type | None:
    """Find the class of ``X`` or ``X | None``; None of types that a parser reads from text."""
    kinds = [k for k in (typing.get_args(kind) or (kind,)) if k is not type(None)]
    is_module = len(kinds) == 1 and inspect.isclass(kinds[0]) and not _is_text(kinds[0])
    return kinds[0] if is_module else None


def _is_text(kind: type) -> bool:
    return issubclass(kind, str | Path | int | float)


def _is_group(kind: Any) -> bool:
    """Tell whether jsonargparse makes a group of options of a class, each with a default."""
    return dataclasses.is_dataclass(kind) or getattr(kind, "__final__", False)


def _parse(
    parser: CommandParser, function: Callable[..., Any], args: Sequence[str]
) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    options: dict[str, Any] = {}
    if "other_options" in parameters:
        args, options["other_options"] = _split(args, set(parameters))
    args = _spell_out(args, hints)
    try:
        for key in {"model", "data"} & parameters.keys():
            base = _base_class(hints[key])
            if base is not None:
                given = given_settings(args)
                is_needed = parameters[key].default is inspect.Parameter.empty
                asks_help = {"help", "-h", f"{key}.help"} & given.keys()
                if not asks_help and (is_needed or key in given):
                    check_name(key, given.get(key), base)
                args = class_first(args, key)
        found = parser.instantiate(parser.parse_args(args))
    except ValueError as error:
        parser.error(str(error.__cause__ or error))
    return options | {name: found[name] for name in parameters if name in found}


def _split(args: Sequence[str], names: set[str]) -> tuple[list[str], list[str]]:
    """Separate the arguments of a function from the options that it does not name."""
    if {"-h", "--help"} & set(args):
        return ["--help"], []
    own: list[str] = []
    other: list[str] = []
    for group in option_groups(args):
        is_own = not group[0].startswith("-") or option_key(group[0]).replace("-", "_") in names
        (own if is_own else other).extend(group)
    return own, other


def _spell_out(args: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    """Normalise flags without a value, lists given value by value, and dashes in names.

    >>> hints = {"by_seed": bool, "names": list[str]}
    >>> _spell_out(["a", "--by-seed", "--names", "x", "--names=y"], hints)
    ['a', '--by_seed=true', '--names=["x", "y"]']
    """
    spelled: list[str] = []
    lists: dict[str, list[str]] = {}
    tokens = list(reversed(args))
    while tokens:
        option, equals, value = tokens.pop().partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or name not in hints:
            spelled.append(option + equals + value)
            continue
        given = value if equals else _take_value(hints[name], tokens)
        if given is None:
            spelled.append(f"--{name}")
        elif typing.get_origin(hints[name]) in (list, tuple):
            lists.setdefault(name, []).append(given)
        else:
            spelled.append(f"--{name}={given}")
    for name, values in lists.items():
        is_whole = len(values) == 1 and values[0].startswith("[")
        spelled.append(f"--{name}={values[0] if is_whole else json.dumps(values)}")
    return spelled


def _take_value(kind: Any, tokens: list[str]) -> str | None:
    """Pop the value of an option off the reversed tokens; None if it has none."""
    following = tokens[-1] if tokens and not tokens[-1].startswith("--") else None
    if kind is bool and following not in ("true", "false"):
        return "true"
    if following is None:
        return "true" if bool in typing.get_args(kind) else None
    return tokens.pop()
