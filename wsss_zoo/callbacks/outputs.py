"""What callbacks read from a method: keys of its outputs, never its class."""

from typing import Any, Literal

from pytorch_lightning import LightningModule
from torch import Tensor

from wsss_zoo.contract import EvaluationBatch, Output


def produces(module: LightningModule, kind: Output) -> bool:
    """Whether a method's attribute ``output`` is of a kind; without the attribute, any kind."""
    return getattr(module, "output", kind) == kind


def from_outputs(outputs: Any, key: str, module: LightningModule, stage: str) -> Tensor:
    """A tensor out of what an evaluation step returned.

    Args:
        outputs: The step's dict.
        key: Name of the tensor.
        module: The method, for the message.
        stage: ``val``, ``test`` or ``predict``.

    Raises:
        KeyError: If the step returned no such tensor; names the method and the key.
    """
    if not isinstance(outputs, dict) or key not in outputs:
        step = {"val": "validation_step"}.get(stage, f"{stage}_step")
        found = sorted(outputs) if isinstance(outputs, dict) else type(outputs).__name__
        raise KeyError(
            f"{type(module).__name__}.{step} returned {found}, but not {key!r}; return it, or set "
            "the class attribute 'output' to what the method makes"
        )
    tensor: Tensor = outputs[key]
    return tensor


def from_batch(batch: EvaluationBatch, key: Literal["mask", "image_labels"], stage: str) -> Tensor:
    """A tensor out of an evaluation batch.

    Raises:
        KeyError: If the batch has no such tensor; names the stage and the key.
    """
    if key not in batch:
        raise KeyError(
            f"the {stage} batch holds {sorted(batch)}, but no {key!r}; choose a split that has it"
        )
    return batch[key]
