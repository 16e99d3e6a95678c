"""How often a training is validated that nobody has set: not after every epoch of three steps."""

import math

from pytorch_lightning import Callback, LightningModule, Trainer

#: Steps between validations at least, and number of validations that a short training has.
STEPS, VALIDATIONS = 100, 20


class ValidationInterval(Callback):
    """Validates by steps where epochs are short; see `validation_steps`.

    The command line adds it unless an option of the trainer says when to validate.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the interval, now that the length of the training and of its epochs is known."""
        batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
        if not trainer.enable_validation or not math.isfinite(batches):
            return
        epoch = math.ceil(batches / accumulated)
        steps = validation_steps(trainer.estimated_stepping_batches, epoch)
        if steps is None:
            return
        if batches % accumulated:  # the last step of an epoch has fewer batches
            trainer.check_val_every_n_epoch = math.ceil(steps / epoch)
            return
        trainer.check_val_every_n_epoch = None
        trainer.val_check_interval = trainer.val_check_batch = steps * accumulated


def validation_steps(total: float, epoch: int) -> int | None:
    """Choose the steps between validations; None for one after every epoch.

    An epoch has at least 100 steps, or the twentieth part of the training, between validations. The
    last validation is that of the last step, unless no number up to twice as large divides
    ``total``.

    Args:
        total: Steps of the training; may be infinite.
        epoch: Steps of an epoch.

    >>> validation_steps(4000, 3), validation_steps(4050, 3), validation_steps(200, 3)
    (100, 135, 10)
    >>> validation_steps(4000, 150), validation_steps(60, 3)
    (None, None)
    """
    least = min(STEPS, math.ceil(total / VALIDATIONS) if math.isfinite(total) else STEPS)
    if epoch >= least:
        return None
    if not math.isfinite(total):
        return least
    whole = int(total)
    divisors = (steps for steps in range(least, 2 * least) if whole % steps == 0)
    return next(divisors, whole // (whole // least))
