"""The command line: a table of commands; each imports what it needs only when it runs."""

import difflib
import importlib.metadata
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command of ``wsss-zoo``.

    Args:
        summary: What it does, in one line.
        run: Runs it with all arguments, the command's name first; returns the exit code.
    """

    summary: str
    run: Callable[[list[str]], int]


def _trainer(args: list[str]) -> int:
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from wsss_zoo.zoo_cli import ZooCLI

    try:
        ZooCLI(args)
    except SIGTERMException as stop:
        return _stopped(args[0], stop)
    return 0


def _stopped(command: str, stop: BaseException) -> int:
    from pytorch_lightning.utilities import rank_zero_only

    # The exception is a SystemExit without a code: a half-done run would pass for a finished one.
    remedy = _notes(stop) or ["start the same command again"]
    message = "; ".join(["stopped by SIGTERM, not finished", *remedy])
    rank_zero_only(print)(f"wsss-zoo {command}: {message}", file=sys.stderr)
    return 128 + signal.SIGTERM


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _pipeline(args: list[str]) -> int:
    from wsss_zoo.pipeline import main as run_pipeline

    return run_pipeline(args[1:])


def _label(args: list[str]) -> int:
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from wsss_zoo.label_images import main as label_images

    try:
        return label_images(args[1:])
    except SIGTERMException as stop:
        return _stopped(args[0], stop)


def _export(args: list[str]) -> int:
    from wsss_zoo.export import main as export

    return export(args[1:])


def _methods(args: list[str]) -> int:
    from wsss_zoo.method_table import main as print_methods

    return print_methods(args[1:])


def _inspect(args: list[str]) -> int:
    from wsss_zoo.inspect_data import main as inspect_data

    return inspect_data(args[1:])


def _compare(args: list[str]) -> int:
    from wsss_zoo.report.command import main as compare

    return compare(args[1:])


def _reliability(args: list[str]) -> int:
    from wsss_zoo.reliability import main as rank

    return rank(args[1:])


COMMANDS = {
    "fit": Command("train a method on a data set", _trainer),
    "validate": Command("measure a trained method on the validation split", _trainer),
    "test": Command("measure a trained method on the test split", _trainer),
    "predict": Command("write label maps for the images of a split", _trainer),
    "label": Command("write masks for any folder of images", _label),
    "export": Command("save a trained network as ONNX or torch.export", _export),
    "pipeline": Command(
        "run a recipe of several steps; a finished step is not run again", _pipeline
    ),
    "compare": Command("compare runs: tables, and a page with curves and pictures", _compare),
    "reliability": Command(
        "list the pseudo-labelled images to trust and the others (ST++)", _reliability
    ),
    "inspect": Command("show what is in a data set, and what is wrong with it", _inspect),
    "methods": Command("list the methods and the labels they need", _methods),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Arguments, the command's name first; None for those of the process. Then an error that
            the package itself raises is printed in one line (``WSSS_ZOO_TRACEBACK=1`` shows where
            it comes from); with arguments from Python it propagates.

    Returns:
        Exit code; 0 for success, 2 for wrong arguments.
    """
    if args is None:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("wsss_zoo").setLevel(logging.INFO)
    arguments = list(sys.argv[1:] if args is None else args)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(importlib.metadata.version("wsss_zoo"))
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        names = ", ".join(COMMANDS)
        print(
            f"wsss-zoo: error: there is no command {name!r}{hint}; there are: {names}",
            file=sys.stderr,
        )
        return 2
    try:
        return COMMANDS[name].run(arguments)
    except Exception as error:
        message = None if args is not None else _message(error, name)
        if message is None:
            raise
        print(f"wsss-zoo {name}: error: {message}", file=sys.stderr)
        return 1


def _help() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "Semantic segmentation from few or weak labels.",
            "",
            "usage: wsss-zoo COMMAND [options]",
            "",
            *(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()),
            "",
            "wsss-zoo COMMAND --help lists the options of a command, wsss-zoo fit --model.help CAM",
            "and --data.help VOC2012 those of a method and of a data set.",
            "First steps: wsss-zoo fit --model CAM --data Shapes --trainer.max_steps 200",
        ]
    )


def _message(error: Exception, command: str) -> str | None:
    """What to print of an error in place of a traceback; None for a bug, which needs one."""
    if os.environ.get("WSSS_ZOO_TRACEBACK"):
        return None
    from wsss_zoo.error_advice import advice

    message = advice(error, command)
    if message is None and isinstance(error, ValueError | OSError | RuntimeError):
        innermost = traceback.extract_tb(error.__traceback__)[-1]
        # The package raised it on purpose.
        if Path(innermost.filename).is_relative_to(Path(__file__).parent):
            message = str(error)
    return message and "; ".join([message, *_notes(error)])


def __getattr__(name: str) -> Any:
    # `from wsss_zoo.cli import ZooCLI` without every command paying for the import of torch.
    if name == "ZooCLI":
        from wsss_zoo.zoo_cli import ZooCLI

        return ZooCLI
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
