"""Runs in wandb: their names, whether they are sent, and which one a resumed run goes on with."""

import contextlib
import json
import netrc
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jsonargparse import Namespace
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from wsss_zoo.files.atomic import write_json
from wsss_zoo.runs.folder import METRICS

RECORD = "wandb_runs.json"
PROJECT = "wsss_zoo"
# Longer ones are refused by wandb.
_TAG_LENGTH = 64
_SPLITS = {
    "fit": "train_split",
    "validate": "val_split",
    "test": "test_split",
    "predict": "predict_split",
}
# wandb's own server has two names; a key may be stored under either.
_HOSTED = {"api.wandb.ai", "api.forge.coreweave.com"}
# Configurations of a run's own folder, which tell nothing of where they came from.
_OWN_CONFIGS = ("config", "config_fit", "config_validate", "config_test", "config_predict", "step")


def prepare_wandb(asked: Any, folder: Path) -> None:
    """Give wandb's logger, if one is asked for, the run's folder and a project.

    Args:
        asked: ``trainer.logger`` of the configuration; changed in place.
        folder: The run's folder.

    Raises:
        ValueError: If there are two of them.
        RuntimeError: If wandb is not installed.
    """
    loggers = asked if isinstance(asked, list) else [asked]
    found = [logger for logger in loggers if isinstance(logger, Namespace) and _is_wandb(logger)]
    if not found:
        return
    if len(found) > 1:
        raise ValueError(
            f"trainer.logger has {len(found)} WandbLoggers, but a process has one wandb run; "
            "leave one"
        )
    try:
        # Not only wandb: a folder of that name would do for Python.
        import wandb.sdk  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            f"--trainer.logger WandbLogger needs wandb, which cannot be imported ({error}): "
            f"pip install wandb; without the option {METRICS} is written all the same"
        ) from error
    arguments = found[0].init_args
    arguments.save_dir = str(folder)
    if arguments.get("project") is None and "WANDB_PROJECT" not in os.environ:
        arguments.project = PROJECT


def describe_run(
    options: Namespace, folder: Path, subcommand: str, *, resumed: bool
) -> dict[str, Any]:
    """Names that a run is found and grouped by.

    ``group`` is the recipe of a pipeline, else that of the run whose folder this is, else the file
    name of the first configuration, else the method; ``job_type`` is the step of a pipeline, else
    the subcommand. Their variables of the environment come first: ``WANDB_RUN_GROUP``,
    ``WANDB_JOB_TYPE``, ``WANDB_TAGS``, ``WANDB_NAME``.

    Args:
        options: Configuration of the subcommand.
        folder: The run's folder.
        subcommand: Its name.
        resumed: Whether it goes on with an earlier run of the folder.

    Returns:
        Arguments of ``wandb.init``: group, job_type, tags, name.
    """
    method = options.model.class_path.rpartition(".")[2]
    data = options.data.class_path.rpartition(".")[2]
    arguments = options.data.init_args
    splits = [arguments.get(_SPLITS[subcommand]) or arguments.get("val_split")]
    if arguments.get("labeled_split") is not None:
        splits.append(f"labeled {Path(str(arguments.labeled_split)).name}")
    tags = [str(tag)[:_TAG_LENGTH] for tag in (method, data, *splits)]
    given = os.environ.get("WANDB_TAGS")
    of_folder = read_record(folder) if resumed or subcommand != "fit" else {}
    group = next((entry["group"] for entry in of_folder.values() if entry.get("group")), None)
    place = folder.resolve()
    return {
        "group": os.environ.get("WANDB_RUN_GROUP") or group or _family(options) or method,
        "job_type": os.environ.get("WANDB_JOB_TYPE") or subcommand,
        "tags": given.split(",") if given else tags,
        "name": os.environ.get("WANDB_NAME") or f"{place.parent.name}/{place.name}",
    }


def earlier_id(folder: Path, subcommand: str, ckpt_path: str | None) -> str | None:
    """Id of the wandb run that a command goes on with; None for a new one.

    A ``fit`` goes on if it resumes from a checkpoint in its own folder, another command if the last
    one in the folder did not come to its end.

    Args:
        folder: The run's folder.
        subcommand: fit, validate, test or predict.
        ckpt_path: Checkpoint that it loads.
    """
    entry = read_record(folder).get(subcommand)
    if entry is None:
        return None
    if subcommand == "fit":
        own = ckpt_path and Path(ckpt_path).resolve().is_relative_to(folder.resolve())
        return entry["id"] if own else None
    return None if entry.get("finished") else entry["id"]


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """Last wandb run of each subcommand in a folder: id, group, and whether it finished.

    Raises:
        ValueError: If the file is damaged.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: {"id": str(entry["id"]), **entry} for name, entry in content.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it, then wandb gets a new run"
        ) from error


@contextlib.contextmanager
def wandb_run(
    loggers: Iterable[Logger], options: Namespace, folder: Path, subcommand: str
) -> Iterator[None]:
    """Start wandb's run before, and end it after, what a command does; nothing without its logger.

    A run that the caller has open already is used and left open.

    Args:
        loggers: Those of the trainer.
        options: Configuration of the subcommand.
        folder: The run's folder; gets the record of the run's id.
        subcommand: Its name.

    Raises:
        RuntimeError: If wandb cannot start a run; the message says what to do.
    """
    logger = next((logger for logger in loggers if isinstance(logger, WandbLogger)), None)
    if logger is None or getattr(rank_zero_only, "rank", 0) > 0:
        yield
        return
    import wandb

    if wandb.run is not None:
        yield
        return
    run_id = earlier_id(folder, subcommand, options.get("ckpt_path"))
    names = describe_run(options, folder, subcommand, resumed=run_id is not None)
    if os.environ.get("WANDB_RUN_ID"):
        # Of a sweep's agent, or the user's own.
        run_id = None
    run = _start(logger, names | {"id": run_id, "resume": "allow"}, folder)
    entry = {"id": run.id, "group": run.group or names["group"], "finished": False}
    _record(folder, subcommand, entry)
    exit_code = 1
    try:
        yield
        exit_code = 0
    finally:
        _record(folder, subcommand, entry | {"finished": exit_code == 0})
        run.finish(exit_code=exit_code)
        # Whatever the trainer is made to do next goes on with the run, by its id.
        logger._wandb_init["id"], logger._experiment = run.id, None


def stays_offline() -> bool:
    """Whether wandb has no key to log in with and nobody at a terminal to ask for one."""
    asked = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE")
    if any(os.environ.get(name) for name in asked) or sys.stdin.isatty():
        return False
    import wandb

    settings = wandb.setup().settings
    # By `wandb login`, `wandb offline` and `wandb disabled`, which write settings files.
    if settings.api_key or settings.mode not in (None, "online"):
        return False
    url = urlsplit(os.environ.get("WANDB_BASE_URL") or settings.base_url)
    hosts = {url.netloc, url.hostname or ""}
    try:
        logins = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return True
    names = hosts | _HOSTED if hosts & _HOSTED else hosts
    return not any(logins[name][2] for name in names if name in logins)


def _is_wandb(logger: Namespace) -> bool:
    found = pkgutil.resolve_name(logger.class_path)
    return isinstance(found, type) and issubclass(found, WandbLogger)


def _family(options: Namespace) -> str | None:
    """File name of the first configuration that is no run's own copy."""
    configs = [Path(str(path)).stem for path in options.get("config") or [] if path is not None]
    return next((name for name in configs if name not in _OWN_CONFIGS), None)


def _start(logger: WandbLogger, arguments: Mapping[str, Any], folder: Path) -> Any:
    # wandb reads the environment once in a process, and the configuration, which holds the logger's
    # arguments, is the start of other runs, which must not get this one's id. There is no third
    # way in.
    given = logger._wandb_init
    given.update({name: value for name, value in arguments.items() if not given.get(name)})
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not given.get("mode"):
            offline = logger._offline or stays_offline()
            given["mode"] = "offline" if offline else os.environ.get("WANDB_MODE")
        return logger.experiment
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        again = f"; delete {folder / RECORD} to begin a new one" if given.get("id") else ""
        raise RuntimeError(
            f"wandb could not start a run ({type(error).__name__}: {reason}){again}; "
            "WANDB_MODE=offline keeps it on this disk, to be sent later by 'wandb sync "
            f"{folder}/wandb/offline-run-*', 'wandb login' stores a key, and without --trainer."
            f"logger WandbLogger {METRICS} is written all the same"
        ) from error


def _record(folder: Path, subcommand: str, entry: Mapping[str, Any]) -> None:
    write_json(folder / RECORD, read_record(folder) | {subcommand: dict(entry)})
