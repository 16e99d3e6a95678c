"""What of a run may change at a resume: order of the images, and options of Lightning's callbacks."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint


def check_epoch_goes_on(trainer: Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a checkpoint from within an epoch whose batches are others now.

    Which images an epoch has left follows from the number of its batches. With other batches some
    images would be left out, and others shown twice. Checkpoints of earlier versions do not say
    what their batches were, and pass.

    Raises:
        ValueError: If batch sizes, seed, images or number of processes differ; the message has
            both values.
    """
    batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    done = batches["current"]["processed"]
    states = (v for v in checkpoint.values() if isinstance(v, dict) and "class_names" in v)
    before = next(states, {}).get("order")
    order = getattr(trainer.datamodule, "training_order", None)  # type: ignore[attr-defined]
    if before is None or order is None or not done or batches["is_last_batch"]:
        return
    now = order()
    changed = [
        key if key == "the list of images" else f"{key} was {before[key]} and is {now[key]}"
        for key in before
        if key in now and before[key] != now[key]
    ]
    if changed:
        raise ValueError(
            f"the checkpoint was saved within an epoch, after {done} batches, and has others left: "
            f"{'; '.join(changed)}; resume it as it was, give a checkpoint of the end of an epoch, "
            "or start a new run from its weights with model.init_from"
        )


def keep_own_options(trainer: Trainer, states: dict[str, Any]) -> None:
    """Replace options of Lightning's callbacks in their saved states by those of this run.

    Args:
        trainer: It has the callbacks.
        states: Saved states by key, changed in place.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state = states.get(callback.state_key)
        if state and isinstance(callback, EarlyStopping):
            state["patience"] = callback.patience
        elif state and isinstance(callback, ModelCheckpoint):
            _keep_the_best(state, callback)


def _keep_the_best(state: dict[str, Any], callback: ModelCheckpoint) -> None:
    """Count as many of the saved models as are asked for; those beyond stay where they are."""
    models = state.get("best_k_models") or {}
    if callback.monitor is None or not 0 < callback.save_top_k < len(models):
        return
    best_first = sorted(models, key=lambda path: float(models[path]), reverse=callback.mode == "max")
    kept = best_first[: callback.save_top_k]
    state["best_k_models"] = {path: models[path] for path in kept}
    state["kth_best_model_path"], state["kth_value"] = kept[-1], models[kept[-1]]
