"""How an ensemble of predictions lives with a training run: storage, resume, ranks, first fill."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsss_zoo.functional import crop_to_cells
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.ranks import gathered, number_of_ranks
from wsss_zoo.modules import ProbabilityEnsemble

logger = logging.getLogger(__name__)


def prepare_ensemble(
    method: BaseMethod, ensemble: ProbabilityEnsemble, resumed: dict[str, Any] | None
) -> None:
    """Before the first step: room for all unlabelled images, and what a checkpoint or a fill gives.

    Args:
        method: Is attached to a trainer; has ``network``, ``ensemble_storage``,
            ``ensemble_memory``, ``warm_fill`` and ``init_from``.
        ensemble: Its ensemble.
        resumed: State of a checkpoint that the run goes on from.

    Raises:
        ValueError: If the state is of another ensemble or damaged, or there is nothing to fill
            from.
        FileNotFoundError: If the state's file is missing.
    """
    images = _unlabeled_images(method)
    ids: list[str] = list(getattr(images, "ids", []))
    known = set(ids).union(resumed["image_ids"] if resumed else ())
    mebibytes = len(known) * ensemble.bytes_per_image / 2**20
    storage, limit = method.hparams["ensemble_storage"], method.hparams["ensemble_memory"]
    if storage == "disk" or (storage == "auto" and mebibytes > limit):
        ensemble.keep_on_disk(checkpoint_folder(method))
        logger.info("the ensemble of %d images, %.0f MiB, is on disk", len(known), mebibytes)
    started = bool(ensemble.image_ids)
    if resumed is not None:
        folders = [Path(str(method.trainer.ckpt_path)).parent, checkpoint_folder(method)]
        ensemble.load_state_dict(resumed, folders, method.device)
    ensemble.add(ids, method.device)
    if method.hparams["warm_fill"] and not started and resumed is None:
        _fill(method, ensemble, images)


def recall(
    ensemble: ProbabilityEnsemble, unlabeled: dict[str, Any], valid: Tensor
) -> tuple[Tensor, Tensor]:
    """What an ensemble says about crops (M, C, H, W), and where it says anything (M, H, W) bool.

    On a single rank, images that no data set has announced find room now.

    Args:
        ensemble: The ensemble.
        unlabeled: The unlabelled half of a batch.
        valid: Pixels that count, (M, H, W); only their shape matters here.
    """
    if number_of_ranks() == 1:
        ensemble.add(unlabeled["image_id"], valid.device)
    rows = ensemble.rows(unlabeled["image_id"], valid.device)
    height, width = valid.shape[1:]
    return ensemble.targets(rows, unlabeled["geometry"], unlabeled["image_size"], (height, width))


@torch.no_grad()
def remember(
    ensemble: ProbabilityEnsemble, unlabeled: dict[str, Any], probs: Tensor, valid: Tensor
) -> None:
    """Let an ensemble follow the predictions for crops, those of all ranks.

    Args:
        ensemble: The ensemble, the same on all ranks before and after.
        unlabeled: The unlabelled half of a batch.
        probs: Probabilities, (M, C, H, W).
        valid: Pixels that count, (M, H, W) bool.
    """
    rows = ensemble.rows(unlabeled["image_id"], valid.device)
    geometry, image_size = unlabeled["geometry"], unlabeled["image_size"]
    mean, covered = crop_to_cells(probs, valid, geometry, image_size, ensemble.cells)
    rows, mean, covered = (gathered(value) for value in (rows, mean, covered))
    ensemble.update(rows, mean, covered)


def checkpoint_folder(method: BaseMethod) -> Path:
    """Where the command line keeps the checkpoints of a run, and an ensemble on disk is."""
    return Path(method.trainer.default_root_dir, "checkpoints")


def _fill(method: BaseMethod, ensemble: ProbabilityEnsemble, images: Any) -> None:
    """Predict every image as a whole, each on one rank, and write it to the ensemble."""
    if not hasattr(images, "ids") or not hasattr(images, "source"):
        raise ValueError(
            "warm_fill needs the data set of unlabelled images, with ids and source, which this "
            "loader does not have; set warm_fill to false"
        )
    if method.hparams["init_from"] is None:
        logger.warning("warm_fill without init_from: the ensemble begins with a fresh network")
    training, device = method.network.training, method.device
    method.network.eval()
    for first in range(0, len(images.ids), number_of_ranks()):
        # At the end of the list a rank without an image repeats the last one.
        image_id = images.ids[min(first + method.global_rank, len(images.ids) - 1)]
        pixels = torch.from_numpy(images.source.read_image(image_id)).to(device)
        image = pixels.permute(2, 0, 1)[None].to(method.dtype) / 255
        with torch.no_grad(), method.trainer.precision_plugin.forward_context():
            probs = method.network(image).float().softmax(1)
        whole = {
            "image_id": [image_id],
            "geometry": torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]], device=device),
            "image_size": torch.tensor([image.shape[2:]], device=device),
        }
        valid = torch.ones(1, *image.shape[2:], dtype=torch.bool, device=device)
        remember(ensemble, whole, probs, valid)
    method.network.train(training)


def _unlabeled_images(method: BaseMethod) -> Any:
    """The data set behind the unlabelled half of the batches, None if there is none."""
    loaders = method.trainer.train_dataloader
    loader = loaders.get("unlabeled") if isinstance(loaders, dict) else None
    return getattr(loader, "dataset", None)
