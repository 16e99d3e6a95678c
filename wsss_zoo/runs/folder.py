"""The folder of a run: the names of its files, and which folder a new run takes."""

import os
from pathlib import Path

#: The state that a run goes on from, and its final weights.
CHECKPOINT = Path("checkpoints", "last.ckpt")
#: All options of the run.
CONFIG = "config.yaml"
#: A row of metrics for each step that was logged, and for each validation.
METRICS = "metrics.csv"
#: A pipeline's mark that it began the run as one of its steps, and that the step is done.
STARTED, DONE = "started.json", "done.json"
# Ranks that Lightning starts parse the command line again and must come to the same folder.
_RUN_FOLDER = "WSSS_ZOO_RUN_FOLDER"


def claim_run_folder(parent: Path) -> Path:
    """Make the next free ``version_N`` in a folder; two runs that start at once get two.

    Args:
        parent: Folder of a method's runs.

    Raises:
        RuntimeError: On another rank than the first, when it cannot know the first one's choice.
    """
    # What only reads folders needs no Lightning.
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


def refuse_own_folders(num_nodes: int) -> None:
    """Refuse to choose a run's folder where each of several machines would choose its own.

    Raises:
        ValueError: If there are several.
    """
    if num_nodes > 1:
        raise ValueError(
            f"trainer.num_nodes is {num_nodes}, and machines cannot agree on a new run folder; "
            "give --trainer.default_root_dir, a folder that all of them see"
        )


def requeued_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint of a run that SLURM stopped and starts again by the same command.

    Lightning writes ``hpc_ckpt_N.ckpt`` when SLURM announces the end of a job's time. The run's own
    checkpoint counts from the first restart on, which SLURM tells: else the same command means a
    new run.

    Args:
        folder: The run's folder.

    Returns:
        Its path; None if the run begins.
    """
    found = list(folder.glob("hpc_ckpt_*.ckpt"))
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")) and (folder / CHECKPOINT).exists():
        found.append(folder / CHECKPOINT)
    newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if newest is None else str(newest)


def config_name(folder: Path, subcommand: str) -> str:
    """File name for a run's configuration: that of a fit in the same folder is not overwritten."""
    path = folder / CONFIG
    if subcommand == "fit" or not path.exists():
        return path.name
    with path.open(encoding="utf-8") as file:
        own = file.readline().strip() == f"# {config_header(subcommand)}"
    return path.name if own else f"config_{subcommand}.yaml"


def config_header(subcommand: str) -> str:
    """First comment of a saved configuration."""
    return f"wsss-zoo {subcommand}"
