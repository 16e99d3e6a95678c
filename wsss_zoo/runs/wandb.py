"""Runs in wandb: their names, whether they are sent, and which one a resumed run continues."""

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
# wandb refuses longer ones.
_TAG_LENGTH = 64
_SPLITS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}
# wandb's own server has two names; a key may be stored under either.
_HOSTED = {"api.wandb.ai", "api.forge.coreweave.com"}
# Configurations in a run's own folder, which do not name what it belongs to.
_OWN_CONFIGS = ("config", "config_fit", "config_validate", "config_test", "config_predict", "step")


def prepare_wandb(asked: Any, folder: Path) -> None:
    """Give wandb's logger in ``trainer.logger``, if there is one, the folder and a project.

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
        # Not only wandb: Python would accept a folder of that name.
        import wandb.sdk  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            f"--trainer.logger WandbLogger needs wandb, which cannot be imported ({error}): "
            f"pip install wandb; without the option {METRICS} is still written"
        ) from error
    arguments = found[0].init_args
    arguments.save_dir = str(folder)
    if arguments.get("project") is None and "WANDB_PROJECT" not in os.environ:
        arguments.project = PROJECT


def describe_run(
    options: Namespace, folder: Path, subcommand: str, *, resumed: bool
) -> dict[str, Any]:
    """Make the names by which a run is found and grouped.

    ``group`` is the pipeline's recipe, else that of the run in the folder, else the file name of
    the first configuration, else the method. ``job_type`` is the pipeline's step, else the
    subcommand. The environment overrides them: ``WANDB_RUN_GROUP``, ``WANDB_JOB_TYPE``,
    ``WANDB_TAGS``, ``WANDB_NAME``.
    """
    method, data = (part.class_path.rpartition(".")[2] for part in (options.model, options.data))
    arguments, environment = options.data.init_args, os.environ
    split = arguments.get(f"{_SPLITS[subcommand]}_split") or arguments.get("val_split")
    tags = [method, data, split]
    if arguments.get("labeled_split") is not None:
        tags.append(f"labeled {Path(str(arguments.labeled_split)).name}")
    given = environment.get("WANDB_TAGS")
    of_folder = read_record(folder) if resumed or subcommand != "fit" else {}
    group = next((entry["group"] for entry in of_folder.values() if entry.get("group")), None)
    place = folder.resolve()
    return {
        "group": environment.get("WANDB_RUN_GROUP") or group or _first_config(options) or method,
        "job_type": environment.get("WANDB_JOB_TYPE") or subcommand,
        "tags": given.split(",") if given else [str(tag)[:_TAG_LENGTH] for tag in tags],
        "name": environment.get("WANDB_NAME") or f"{place.parent.name}/{place.name}",
    }


def earlier_id(folder: Path, subcommand: str, ckpt_path: str | None) -> str | None:
    """Find the wandb run that a command continues; None for a new one.

    A ``fit`` continues if it resumes from a checkpoint in its own folder. Another command continues
    if the last one in the folder was interrupted.
    """
    entry = read_record(folder).get(subcommand, {})
    if subcommand == "fit":
        own = ckpt_path and Path(ckpt_path).resolve().is_relative_to(folder.resolve())
        return entry.get("id") if own else None
    return None if entry.get("finished") else entry.get("id")


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the last wandb run of each subcommand in a folder: id, group, and whether it finished.

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
        raise ValueError(f"{path} is damaged ({error}): delete it for a new wandb run") from error


@contextlib.contextmanager
def wandb_run(
    loggers: Iterable[Logger], options: Namespace, folder: Path, subcommand: str
) -> Iterator[None]:
    """Run a command within a wandb run, if there is wandb's logger; record its id in the folder.

    A run that the caller has already opened is used and left open.

    Raises:
        RuntimeError: If wandb cannot start a run; the message gives the remedies.
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
    entry = {"id": run.id, "group": run.group or names["group"]}
    _record(folder, subcommand, entry, finished=False)
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        _record(folder, subcommand, entry, finished=succeeded)
        run.finish(exit_code=int(not succeeded))
        # Whatever the trainer does next continues the run, by its id.
        logger._wandb_init["id"], logger._experiment = run.id, None


def stays_offline() -> bool:
    """Tell whether wandb has no key to log in with, and no terminal to ask for one."""
    asked = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE")
    if any(os.environ.get(name) for name in asked) or sys.stdin.isatty():
        return False
    import wandb

    settings = wandb.setup().settings
    # Set by `wandb login`, `wandb offline` and `wandb disabled`.
    if settings.api_key or settings.mode not in (None, "online"):
        return False
    url = urlsplit(os.environ.get("WANDB_BASE_URL") or settings.base_url)
    hosts = {url.netloc, url.hostname or ""}
    try:
        logins = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return True
    names = hosts | _HOSTED if hosts & _HOSTED else hosts
    return not any(logins[name][2] for name in names & logins.keys())


def _is_wandb(logger: Namespace) -> bool:
    found = pkgutil.resolve_name(logger.class_path)
    return isinstance(found, type) and issubclass(found, WandbLogger)


def _first_config(options: Namespace) -> str | None:
    """Name the first configuration that is no run's own copy."""
    configs = [Path(str(path)).stem for path in options.get("config") or [] if path is not None]
    return next((name for name in configs if name not in _OWN_CONFIGS), None)


def _start(logger: WandbLogger, arguments: Mapping[str, Any], folder: Path) -> Any:
    # The only way in: wandb reads the environment once per process, and the configuration, which
    # holds the logger's arguments, may start other runs, which must not get this one's id.
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
            "WANDB_MODE=offline keeps it on disk, to be sent later by 'wandb sync "
            f"{folder}/wandb/offline-run-*'; 'wandb login' stores a key; without --trainer.logger "
            f"WandbLogger {METRICS} is still written"
        ) from error


def _record(folder: Path, subcommand: str, entry: dict[str, Any], *, finished: bool) -> None:
    write_json(folder / RECORD, read_record(folder) | {subcommand: {**entry, "finished": finished}})
