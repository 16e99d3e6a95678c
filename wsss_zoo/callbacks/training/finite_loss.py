"""Stop a training at a loss that is NaN or infinite, and name the images of its batch."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

_REMEDY = (
    "look at these images and their labels ('wsss-zoo inspect'), or train with a lower model.lr, "
    "with trainer.gradient_clip_val 1 or with trainer.precision 32-true; no checkpoint holds these "
    "weights"
)


class _Seen(NamedTuple):
    place: str
    images: str
    loss: Tensor


class FiniteLoss(Callback):
    """Stops a training at a loss that is NaN or infinite, and names the images of its batch.

    No step waits for the device: losses stay there and are checked together, every
    ``every_n_batches`` and before any checkpoint is written. So a training goes on for up to that
    many batches after the bad one, but no checkpoint holds its weights. Weights are checked before
    each checkpoint too: a gradient can break them in a step whose loss is finite. Any other error
    gets a note with the batch that it occurred in.

    Args:
        every_n_batches: Number of losses that are checked together; 0 turns the checks off. None
            takes ``trainer.log_every_n_steps``, where metrics wait for the device in any case.

    Raises:
        ValueError: If the number is negative.
        RuntimeError: In training, if a loss or a weight was NaN or infinite.
    """

    def __init__(self, every_n_batches: int | None = None) -> None:
        super().__init__()
        if every_n_batches is not None and every_n_batches < 0:
            raise ValueError(
                f"every_n_batches is {every_n_batches}; give the number of batches, or 0 for never"
            )
        self.every_n_batches = every_n_batches
        self._seen: list[_Seen] = []
        # The batch before the first that is kept: its gradient may be what broke the weights.
        self._before = ""
        self._batch: tuple[str, str] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier training."""
        self._seen, self._before = [], ""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batch for messages."""
        place = f"batch {batch_idx} of epoch {trainer.current_epoch}"
        self._batch = (place, describe_images(batch))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss and the ids, and check those kept when they are enough."""
        done, self._batch = self._batch, None
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        every = self.every_n_batches
        if every is None:
            every = max(getattr(trainer, "log_every_n_steps", 1), 1)
        if not every or done is None or not isinstance(loss, Tensor):
            return
        place, images = done
        self._seen.append(_Seen(f"{place} (step {trainer.global_step})", images, loss.detach()))
        if len(self._seen) >= every:
            self._check_losses()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the losses kept, and the weights, before a checkpoint is written."""
        self._check_losses()
        if self.every_n_batches == 0:
            return
        weights = checkpoint["state_dict"]
        finite = torch.stack([torch.isfinite(value).all() for value in weights.values()]).tolist()
        broken = [name for name, fine in zip(weights, finite, strict=True) if not fine]
        if broken:
            raise RuntimeError(
                f"{len(broken)} of {len(weights)} weights are NaN or infinite at step "
                f"{trainer.global_step} ({broken[0]}), though the loss was a number; the last "
                f"batch had {self._before}; {_REMEDY}"
            )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Add a note with the batch to an error."""
        if self._batch is not None and isinstance(exception, Exception):
            exception.add_note(f"it was {', '.join(self._batch)}")
        self._batch = None

    def _check_losses(self) -> None:
        seen, self._seen = self._seen, []
        if not seen:
            return
        values = torch.stack([entry.loss.float().mean() for entry in seen]).tolist()
        before, self._before = self._before, seen[-1].images
        for entry, value in zip(seen, values, strict=True):
            if not math.isfinite(value):
                earlier = f"; the batch before had {before}" if before else ""
                raise RuntimeError(
                    f"the training loss is {value} at {entry.place}, {entry.images}{earlier}; "
                    f"{_REMEDY}"
                )
            before = entry.images


def describe_images(batch: Any) -> str:
    """List the ids of a batch's images, by the part of the batch that they are in.

    >>> describe_images({"image_id": ["a", "b"], "reference": {"image_id": ["c"]}})
    'images a, b, reference images c'
    """
    parts = [f"{name}images {', '.join(map(str, ids))}" for name, ids in _ids_in(batch, "")]
    return ", ".join(parts) or "images without ids"


def _ids_in(batch: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(batch, Mapping):
        return
    if "image_id" in batch:
        yield name, batch["image_id"]
    for key, part in batch.items():
        yield from _ids_in(part, f"{key} ")
