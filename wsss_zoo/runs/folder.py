"""The folder of a run: names of its files, and the choice of a new one."""

import os
from collections.abc import Sequence
from pathlib import Path

#: The state that a run resumes from, and its final weights.
CHECKPOINT = Path("checkpoints", "last.ckpt")
#: All options of the run.
CONFIG = "config.yaml"
#: A row of metrics for each logged step and each validation.
METRICS = "metrics.csv"
#: A pipeline's marks that it began the run as one of its steps, and finished it.
STARTED, DONE = "started.json", "done.json"
#: What ``wsss-zoo train`` leaves beside its runs: the candidates, and which was chosen.
RESULT = "result.json"
#: Set in the environment of a pipeline's steps.
STEP = "WSSS_ZOO_STEP"
#: A training that ran out of memory leaves it.
OUT_OF_MEMORY = "out_of_memory.json"
# Ranks that Lightning starts parse the command line again and must choose the same folder.
_RUN_FOLDER = "WSSS_ZOO_RUN_FOLDER"


def claim_run_folder(parent: Path, num_nodes: int = 1) -> Path:
    """Make the next free ``version_N`` in ``parent``; two simultaneous runs get different ones.

    Raises:
        ValueError: If several machines would each choose a folder.
        RuntimeError: On a rank that cannot know the choice of the first one.
    """
    if num_nodes > 1:
        raise ValueError(
            f"trainer.num_nodes is {num_nodes}, and machines cannot agree on a new run folder; "
            "give --trainer.default_root_dir, a folder that all of them see"
        )
    # Reading a run's folder needs no Lightning.
    from pytorch_lightning.utilities import rank_zero_only

    if getattr(rank_zero_only, "rank", 0) > 0:
        if _RUN_FOLDER not in os.environ:
            raise RuntimeError(
                "the ranks cannot agree on a new run folder when something other than Lightning "
                "starts them; give --trainer.default_root_dir"
            )
        return Path(os.environ[_RUN_FOLDER])
    taken = [path.name.removeprefix("version_") for path in parent.glob("version_*")]
    number = max((int(name) for name in taken if name.isdecimal()), default=-1) + 1
    while True:
        folder = parent / f"version_{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        os.environ[_RUN_FOLDER] = str(folder)
        return folder


def requeued_checkpoint(folder: Path) -> str | None:
    """Find the newest checkpoint of a run that SLURM stopped and requeued; None for a new run.

    Lightning writes ``hpc_ckpt_N.ckpt`` when SLURM announces the end of a job's time. The run's own
    checkpoint counts only if SLURM reports a restart: otherwise the same command is a new run.
    """
    found = list(folder.glob("hpc_ckpt_*.ckpt"))
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")) and (folder / CHECKPOINT).exists():
        found.append(folder / CHECKPOINT)
    newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if newest is None else str(newest)


def config_name(folder: Path, subcommand: str) -> str:
    """Name a run's configuration file; that of a fit in the same folder is not overwritten."""
    path = folder / CONFIG
    if subcommand == "fit" or not path.exists():
        return path.name
    return path.name if is_config_of(path, subcommand) else f"config_{subcommand}.yaml"


def is_config_of(path: Path, subcommand: str) -> bool:
    """Tell whether a file is the configuration that a subcommand saved."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().strip() == f"# {config_header(subcommand)}"


def own_checkpoint(configs: Sequence[str], folder: Path | None) -> Path | None:
    """Find the checkpoint of the run that a command line names without naming its checkpoint.

    Args:
        configs: Its config files. That of a run stands in the run's folder.
        folder: Its ``trainer.default_root_dir``.

    Returns:
        The run's checkpoint; None if no run is named.

    Raises:
        ValueError: If a config file is that of a training that has no checkpoint.
    """
    files = [Path(config) for config in reversed(configs)]
    found = [file.parent / CHECKPOINT for file in files if file.is_file()]
    found += [] if folder is None else [folder / CHECKPOINT]
    checkpoint = next((path for path in found if path.exists()), None)
    trained = next((file for file in files if is_config_of(file, "fit")), None)
    if checkpoint is None and trained is not None:
        raise ValueError(
            f"{trained} is the configuration of a training, but {trained.parent} has no "
            f"{CHECKPOINT}; give --ckpt_path"
        )
    return checkpoint


def config_header(subcommand: str) -> str:
    """Return the first comment of a saved configuration."""
    return f"wsss-zoo {subcommand}"
