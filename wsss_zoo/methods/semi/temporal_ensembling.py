"""Temporal Ensembling: the network follows what it has said about an image before."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from wsss_zoo.contract import SemiBatch, UnlabeledBatch
from wsss_zoo.functional import crop_to_cells, masked_squared_error
from wsss_zoo.methods.ranks import gathered, number_of_ranks, share_of_global_mean
from wsss_zoo.methods.semi.base import ConsistencyMethod
from wsss_zoo.modules import ProbabilityEnsemble

logger = logging.getLogger(__name__)


class TemporalEnsembling(ConsistencyMethod):
    """What was said about an unlabelled image before teaches what is said now.

    L = L_x + w(t) mean (p - Z / (1 - alpha^n))^2, then Z <- alpha Z + (1 - alpha) p.

    Z averages what the network said about an image, on a grid of ``ensemble_size``^2 cells over the
    whole image. n counts, for each cell of each image, the crops that it has seen. Crops read Z
    bilinearly. They write the mean of their pixels in a cell, if they cover at least half of it.
    Pixels of unseen cells count in the mean but pull nowhere, like the first epoch of the paper.
    Padding and CutOut do not count. Labelled and unlabelled images share a batch.

    Z is in the memory of the network's device and takes ``ensemble_size``^2 (2 C + 2) bytes an
    image (float16 and a 16-bit count): 64 KiB for 7 classes, 176 KiB for 21 at 64 cells. Under DDP
    every rank keeps all of it, and ranks exchange the updates of each batch, because an image comes
    to another rank in another epoch. A checkpoint holds Z, so that a resume is exact.

    Args:
        view: "strong" (photometric noise stands for the paper's) or "weak"; both read and write Z.
        alpha: Share of the old average in Z, in [0, 1).
        ensemble_size: Rows and columns of cells that an image is divided into.
        warm_fill: Before the first step, write the predictions of the start weights for all
            unlabelled images, whole and in eval mode, as first visit. Sensible with ``init_from``.
        ensemble_storage: Without effect, whether "auto", "memory" or "disk": Z is always in memory.
            Configurations of earlier versions have it.
        ensemble_memory: Without effect, likewise.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithm 2
    (smlaine2/tempens @ a32743a), for classification. Differences from the authors' code:

    * Z is updated after each batch and corrected by the visits of a cell. The authors' code does
      both by the epoch. That differs only where a cell is not seen in every epoch.
    * Labelled images have no Z. `PiModel` explains why w needs no share of labelled images.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        unlabeled_weight: float = 30.0,
        view: Literal["strong", "weak"] = "strong",
        alpha: float = 0.6,
        ensemble_size: int = 64,
        warm_fill: bool = False,
        ensemble_storage: Literal["auto", "memory", "disk"] = "auto",
        ensemble_memory: int = 1024,
        **shared: Any,
    ) -> None:
        super().__init__(num_classes, backbone, unlabeled_weight, **shared)
        self.ensemble = ProbabilityEnsemble(num_classes, ensemble_size, alpha)
        self._resumed: dict[str, Any] | None = None

    def training_step(self, batch: SemiBatch, batch_idx: int) -> Tensor:
        """Compute L_x + w(t) mean squared difference of prediction and Z; then update Z."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        image = labeled["image"]
        if self.hparams["view"] == "weak":
            view, valid = unlabeled["weak"], unlabeled["valid"]
        else:
            view, valid = unlabeled["strong"][:, 0], unlabeled["strong_valid"][:, 0]
        logits, view_logits = self.network(torch.cat([image, view])).split([len(image), len(view)])
        gated = self.mask_absent_classes(view_logits.detach(), unlabeled).softmax(1)
        target, seen = self._recall(unlabeled, valid)
        label = torch.where(seen[:, None], target, gated).argmax(1)
        self.log_pseudo_labels(unlabeled, label, seen & valid)
        probs = view_logits.float().softmax(1)
        # Its own target: weight 0, but counted.
        target = torch.where(seen[:, None], target, probs.detach())
        consistency = masked_squared_error(probs, target, valid)
        consistency = share_of_global_mean(consistency, valid.sum())
        places = unlabeled["geometry"], unlabeled["image_size"]
        self._remember(unlabeled["image_id"], *places, gated, valid)
        return self.total_loss(self.supervised_loss(logits, labeled["mask"]), consistency)

    def on_train_start(self) -> None:
        """Make room for all unlabelled images, and restore or fill Z."""
        if self.hparams["ensemble_storage"] == "disk":
            logger.warning("ensemble_storage 'disk' is ignored: the ensemble is kept in memory")
        loaders = self.trainer.train_dataloader
        loader = loaders.get("unlabeled") if isinstance(loaders, dict) else None
        images: Any = getattr(loader, "dataset", None)
        is_new = not self.ensemble.image_ids and self._resumed is None
        if self._resumed is not None:
            self.ensemble.load_state_dict(self._resumed, self.device)
            self._resumed = None
        self.ensemble.add(getattr(images, "ids", []), self.device)
        if self.hparams["warm_fill"] and is_new:
            self._fill(images)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add Z."""
        super().on_save_checkpoint(checkpoint)
        if self.trainer.is_global_zero:
            checkpoint["ensemble"] = self.ensemble.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep Z until the training starts; nothing else needs it."""
        if self._trainer is not None and self.trainer.training:
            self._resumed = checkpoint.get("ensemble")

    def _recall(self, unlabeled: UnlabeledBatch, valid: Tensor) -> tuple[Tensor, Tensor]:
        """What Z says about crops (M, C, H, W), and where it says anything (M, H, W) bool.

        Only the shape and the device of ``valid`` matter. On a single rank, images that no data set
        has announced find room now.
        """
        if number_of_ranks() == 1:
            self.ensemble.add(unlabeled["image_id"], valid.device)
        rows = self.ensemble.rows(unlabeled["image_id"], valid.device)
        size = (valid.shape[1], valid.shape[2])
        return self.ensemble.targets(rows, unlabeled["geometry"], unlabeled["image_size"], size)

    @torch.no_grad()
    def _remember(
        self,
        image_ids: Sequence[str],
        geometry: Tensor,
        image_size: Tensor,
        probs: Tensor,
        valid: Tensor,
    ) -> None:
        """Let Z follow the predictions (M, C, H, W) for crops, those of all ranks."""
        rows = self.ensemble.rows(image_ids, valid.device)
        mean, covered = crop_to_cells(probs, valid, geometry, image_size, self.ensemble.cells)
        rows, mean, covered = (gathered(value) for value in (rows, mean, covered))
        self.ensemble.update(rows, mean, covered)

    @torch.no_grad()
    def _fill(self, images: Any) -> None:
        """Predict every image as a whole, each on one rank, and write it to Z."""
        if not hasattr(images, "ids") or not hasattr(images, "source"):
            raise ValueError(
                "warm_fill needs the data set of unlabelled images, with ids and source, which "
                "this loader does not have; set warm_fill to false"
            )
        if self.hparams["init_from"] is None:
            logger.warning("warm_fill without init_from: the ensemble begins with a fresh network")
        training, device = self.network.training, self.device
        self.network.eval()
        for first in range(0, len(images.ids), number_of_ranks()):
            # At the end of the list a rank without an image repeats the last one.
            image_id = images.ids[min(first + self.global_rank, len(images.ids) - 1)]
            pixels = torch.from_numpy(images.source.read_image(image_id)).to(device)
            image = pixels.permute(2, 0, 1)[None].to(self.dtype) / 255
            with self.trainer.precision_plugin.forward_context():
                probs = self.network(image).float().softmax(1)
            whole = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]], device=device)
            size = torch.tensor([image.shape[2:]], device=device)
            valid = torch.ones(1, *image.shape[2:], dtype=torch.bool, device=device)
            self._remember([image_id], whole, size, probs, valid)
        self.network.train(training)
