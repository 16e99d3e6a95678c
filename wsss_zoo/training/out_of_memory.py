"""Which trainings ran out of memory, and the settings that need less."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from wsss_zoo.runs.folder import DONE, OUT_OF_MEMORY, STARTED
from wsss_zoo.training.request import RECIPE
from wsss_zoo.training.settings import smaller_crop

#: Exit code of a process that the system killed, most often for want of memory.
KILLED = 128 + 9


def out_of_memory_lines(out: Path, root: Path | None = None, killed: bool = False) -> list[str]:
    """Name what each training that ran out of memory needs, a line each.

    Args:
        out: The folder of everything, with the recipe.
        root: The folder of the runs; None for ``out``.
        killed: Whether the system killed the training that was under way.
    """
    root = root or out
    content = yaml.safe_load((out / RECIPE).read_text(encoding="utf-8"))
    steps = content["steps"]
    lacked = [name for name in steps if (root / name / OUT_OF_MEMORY).exists()]
    open_steps = [name for name in steps if (root / name / STARTED).exists()]
    lacked += [name for name in open_steps if killed and not (root / name / DONE).exists()]
    problem = "was killed, most often for want of memory" if killed else "ran out of memory"
    return [f"{name} {problem}: {_remedy(name, content, out)}" for name in lacked]


def _remedy(name: str, content: Mapping[str, Any], out: Path) -> str:
    step = content["steps"][name]
    data: dict[str, Any] = {}
    for place in (content["common"], step):
        data |= (place.get("data") or {}).get("init_args") or {}
    batch = data.get("batch_size", 0)
    if batch > 2:
        accumulate = 2 * (step.get("trainer") or {}).get("accumulate_grad_batches", 1)
        setting = f"batch_size {batch // 2} and accumulate_grad_batches {accumulate}"
    else:
        crop = smaller_crop(data.get("crop_size", 0))
        setting = f"crop_size {crop}" if crop else "another backbone"
    return (
        f"set {setting} for {name} in {out / RECIPE}, which needs less for the same steps, and "
        "repeat the command; finished steps are kept"
    )
