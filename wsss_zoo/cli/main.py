"""The command line: a table of commands, imported when they run."""

import difflib
import importlib.metadata
import logging
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import wsss_zoo


class Command(NamedTuple):
    """Help line and import path of a function for `run_command`; None for LightningCLI's."""

    summary: str
    function: str | None = None


COMMANDS = {
    "train": Command(
        "from a folder of images and labels to a segmenter",
        "wsss_zoo.training.command.train_folder",
    ),
    "fit": Command("train one method on a data set"),
    "validate": Command("measure a trained method on the validation split"),
    "test": Command("measure a trained method on the test split"),
    "predict": Command("write pseudo-labels for the images of a split"),
    "import": Command(
        "turn the annotations of a tool into a folder for training",
        "wsss_zoo.importing.command.import_annotations",
    ),
    "label": Command("write masks for any folder of images", "wsss_zoo.deploy.label.label"),
    "saliency": Command(
        "write saliency maps of images, by an ONNX network",
        "wsss_zoo.deploy.saliency.write_saliency",
    ),
    "superpixels": Command(
        "write superpixels of images, for labels that vote per segment",
        "wsss_zoo.deploy.superpixel_maps.write_superpixels",
    ),
    "export": Command(
        "save a trained network as ONNX or torch.export", "wsss_zoo.deploy.export.export_checkpoint"
    ),
    "pipeline": Command(
        "run a recipe of several steps; finished steps are skipped",
        "wsss_zoo.pipeline.command.run_recipe",
    ),
    "recipes": Command(
        "list the recipes that come with the package, or print one",
        "wsss_zoo.recipes.command.list_recipes",
    ),
    "compare": Command(
        "compare runs: tables, and a page with curves and pictures",
        "wsss_zoo.report.command.compare_runs",
    ),
    "reliability": Command(
        "split pseudo-labelled images into reliable and unreliable ones (ST++)",
        "wsss_zoo.inspection.reliability.list_reliable",
    ),
    "inspect": Command(
        "show the contents and errors of a data set",
        "wsss_zoo.inspection.command.inspect_data_set",
    ),
    "next": Command(
        "choose the images to label next, and forecast what they bring",
        "wsss_zoo.labeling.next_images.choose_next",
    ),
    "audit": Command(
        "find given masks and tags that are probably wrong", "wsss_zoo.labeling.audit.audit_labels"
    ),
    "simulate": Command(
        "draw the scribbles, points, boxes or blocks of a benchmark from masks",
        "wsss_zoo.inspection.simulate.simulate_labels",
    ),
    "methods": Command(
        "list the methods and the labels they need", "wsss_zoo.cli.method_table.list_methods"
    ),
}


class StderrHandler(logging.Handler):
    """Prints records on the stderr of the moment: above a progress bar, where one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        try:
            print(self.format(record), file=sys.stderr)
        except Exception:  # as the handlers of logging: it never stops a run
            self.handleError(record)


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Arguments, the command's name first; None for those of the process. Then an error that
            the package raises is printed in one line (``WSSS_ZOO_TRACEBACK=1`` shows its
            traceback); with arguments from Python it propagates.

    Returns:
        Exit code; 0 for success, 1 for a failure. Wrong arguments end the process with code 2.
    """
    if args is None:
        logging.basicConfig(format="%(message)s", handlers=[StderrHandler()])
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
        problem = f"there is no command {name!r}{hint}; there are: {', '.join(COMMANDS)}"
        print(f"wsss-zoo: error: {problem}", file=sys.stderr)
        return 2
    try:
        return _run(name, arguments)
    except KeyboardInterrupt:
        if args is not None or os.environ.get("WSSS_ZOO_TRACEBACK"):
            raise
        print(f"wsss-zoo {name}: stopped by Ctrl-C, not finished", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        message = None if args is not None else _message(error, name)
        if message is None:
            raise
        print(f"wsss-zoo {name}: error: {message}", file=sys.stderr)
        return 1


def _run(name: str, args: list[str]) -> int:
    function = COMMANDS[name].function
    try:
        if function is not None:
            from wsss_zoo.arguments.command_parser import run_command

            return run_command(name, pkgutil.resolve_name(function), args[1:])
        from wsss_zoo.cli.training import ZooCLI

        ZooCLI(args)
    except SystemExit as stop:
        # Recognised by its name: the import of Lightning takes seconds.
        if type(stop).__name__ != "SIGTERMException":
            raise
        return _report_stop(name, stop)
    return 0


def _report_stop(command: str, stop: SystemExit) -> int:
    from pytorch_lightning.utilities import rank_zero_only

    # The exception has no exit code: an interrupted run would pass for a finished one.
    interrupted = getattr(stop, "interrupted", False)
    reason, number = ("Ctrl-C", signal.SIGINT) if interrupted else ("SIGTERM", signal.SIGTERM)
    remedy = _notes(stop) or ["start the same command again"]
    message = "; ".join([f"wsss-zoo {command}: stopped by {reason}, not finished", *remedy])
    rank_zero_only(print)(message, file=sys.stderr)
    return 128 + number


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {c.summary}" for name, c in COMMANDS.items())
    return f"""Semantic segmentation from few or weak labels.

usage: wsss-zoo COMMAND [options]

{commands}

wsss-zoo COMMAND --help lists the options of a command, wsss-zoo fit --model.help CAM
and --data.help VOC2012 those of a method and of a data set.
First steps: wsss-zoo fit --model CAM --data Shapes --trainer.max_steps 200"""


def _message(error: Exception, command: str) -> str | None:
    """Word an error in one line; None for a bug, which needs a traceback."""
    if os.environ.get("WSSS_ZOO_TRACEBACK"):
        return None
    from wsss_zoo.arguments.checks import cut_message
    from wsss_zoo.cli.error_advice import advice

    message = advice(error, command)
    if message is None and _is_ours(error):
        message = str(error)
    return message and "; ".join([cut_message(message), *_notes(error)])


def _is_ours(error: Exception) -> bool:
    """Tell whether the package raised an error on purpose."""
    if isinstance(error, ImportError):
        # A failed import statement sets the name of the module.
        expected = error.name is None
    else:
        expected = isinstance(error, ValueError | OSError | RuntimeError)
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    return expected and Path(innermost.filename).is_relative_to(Path(wsss_zoo.__file__).parent)
