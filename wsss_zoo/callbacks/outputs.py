"""What callbacks read from methods and data modules: keys and attributes, never classes."""

from typing import Any, Literal

from pytorch_lightning import LightningModule
from torch import Tensor

from wsss_zoo.contract import EvaluationBatch, Output


def produces(module: LightningModule, kind: Output) -> bool:
    """Tell whether a method's ``output`` is of a kind; without the attribute it is of any kind."""
    return getattr(module, "output", kind) == kind


def step_name(module: LightningModule, stage: str) -> str:
    """Name a method's step for messages; ``stage`` is val, test or predict."""
    return f"{type(module).__name__}.{'validation' if stage == 'val' else stage}_step"


def known_names(asker: object, names: list[str] | None) -> list[str]:
    """Return class names; a ValueError if there are none."""
    if names is None:
        raise ValueError(
            f"{type(asker).__name__} does not know the class names; give class_names=[...] or a "
            "data module that has them"
        )
    return names


def from_outputs(outputs: Any, key: str, module: LightningModule, stage: str) -> Tensor:
    """Take a tensor out of what a method's evaluation step returned.

    Raises:
        KeyError: If the step returned no such tensor; names the method and the key.
    """
    if not isinstance(outputs, dict) or key not in outputs:
        found = sorted(outputs) if isinstance(outputs, dict) else type(outputs).__name__
        raise KeyError(
            f"{step_name(module, stage)} returned {found}, but not {key!r}; return it, or set the "
            "class attribute 'output' to what the method makes"
        )
    tensor: Tensor = outputs[key]
    return tensor


def from_batch(batch: EvaluationBatch, key: Literal["mask", "image_labels"], stage: str) -> Tensor:
    """Take a tensor out of an evaluation batch.

    Raises:
        KeyError: If the batch has no such tensor; names the stage and the key.
    """
    if key not in batch:
        raise KeyError(
            f"the {stage} batch holds {sorted(batch)}, but no {key!r}; choose a split that has it"
        )
    return batch[key]
