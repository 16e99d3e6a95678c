"""The data layer's base: splits, supervision and loaders of every data set."""

import hashlib
import logging
import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from wsss_zoo.contract import FindDone, Supervision, done_ids
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.loading.loaders import (
    Order,
    evaluation_loader,
    joined_loader,
    semi_loader,
    train_loader,
)
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.data.supervision.evaluation import EvaluationImages
from wsss_zoo.data.supervision.label_gate import LabelGate, make_label_gate
from wsss_zoo.data.supervision.options import GREY, TrainingOptions
from wsss_zoo.data.supervision.sparse import SparseImages
from wsss_zoo.data.supervision.training_set import (
    TrainingSet,
    make_training_set,
    training_ids,
    training_lists,
)
from wsss_zoo.data.transforms.crops import Sample
from wsss_zoo.data.transforms.joint import Augmentation
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.files.images.pixels import AS_STORED, PixelOptions, options_from_state
from wsss_zoo.files.region_graphs import open_graphs

logger = logging.getLogger(__name__)

_UNIMATCH = Augmentation()


class BaseDataModule(Catalog, LightningDataModule):
    """Splits, loaders and transforms; a data set only says where its files are.

    A subclass gives `known_classes`, `split_ids`, `open_source` and `read_tags`.

    Args:
        supervision: Batch format of training; the command line takes it from the method. Only
            ``images`` needs neither masks nor tags, in validation too.
        train_split: Training images: name of a split, or a list file.
        val_split: Validation images; None for no validation.
        test_split: Test images; None for the data set's own, or else ``val_split``: the measures
            are then named ``val``.
        predict_split: Images that ``predict`` goes over.
        predict_limit: Predict only the first N images.
        classes: Names of the foreground classes to keep, in this order; None keeps all. The others
            are 255 in masks and dropped from tags.
        extra_roots: More training images of ``image_labels`` and ``pairs``: folder by domain name
            (letters, digits, - and _), with ``images/`` and ``image_labels.csv``.
        labeled_split: Images whose masks may be used: a list file, the name of a split, or a
            fraction of ``train_split``, sampled so that every class occurs. The run's folder gets
            the list as ``labeled_split.txt``, and the rest as ``unlabeled_split.txt``.
        unlabeled_split: Unlabelled images of ``semi`` and ``sparse``; None for ``train_split`` less
            the labelled, or in ``semi`` for all of it with ``pseudo_label_dir``.
        pseudo_label_dir: Folder of pseudo-labels that replace the masks of ``train_split``, but not
            those of ``labeled_split``. Of several folders the first that has an image counts. In
            ``semi`` an image without a pseudo-label is in the unlabelled half only. With
            ``novel_classes`` they give pixels of novel classes that the image is tagged with, where
            the true mask, which must exist, has no base class. In ``sparse`` they fill pixels that
            have no label, with classes that are possible there.
        repeat_labeled: Oversample the images of ``labeled_split`` to match the number of
            pseudo-labelled ones, as ST and ST++ do.
        graph_dir: Folder of region graphs of all images in use, for supervision ``graphs``.
        sparse_dir: Folder of sparse labels: maps ``sparse/<id>.png``, ``shapes.json``,
            ``boxes.csv``, ``points.csv``, as in a `Folder` or written by ``wsss-zoo simulate``.
            Supervision ``sparse`` opens no masks but those of ``labeled_split``.
        complete_tags: In ``sparse``, tags name all classes of an image.
        complete_boxes: In ``sparse``, boxes hold all objects of an image that has any, so that only
            background is outside them.
        complete_sparse: In ``sparse``, every class of an image with labels is labelled, the
            background too. True for scribbles in every object; not for masks of some objects.
        tag_conflicts: In ``sparse``, what follows where an image has a label of a class that its
            complete tags do not name: ``error``, or ``report``, and the label counts.
        base_classes: Classes with masks; None for all that are not novel.
        novel_classes: Classes with tags only: names, or the name of a published split (``split_1``
            to ``split_4`` of ADE20K and COCO-Stuff 10K). Their pixels are 255 in all training
            masks, but not in validation and ``audit_mask``. For a fully supervised upper bound,
            train without ``novel_classes`` and validate with them.
        crop_size: Side of training crops, pixels.
        batch_size: Images in a training batch (labelled ones in ``semi`` and ``sparse``).
        unlabeled_batch_size: Unlabelled images in a batch; None for ``batch_size``. In ``sparse``
            those are the images without a label of any pixel; 0 leaves them out.
        augmentation: Random changes of training images.
        photometric: Which training images (except those of ``semi`` and ``sparse``) get
            photometric changes too; ``pseudo``: those with a pseudo-label.
        strong_views: Strong views of each unlabelled image, of each image in ``sparse``.
        crop_tags: In ``weak_shot``, take tags from the crop (SimFormer's code), not the image.
        audit: Give unlabelled and sparse batches their true masks as ``audit_mask``, for logging
            only. It has nothing to do with ``wsss-zoo audit``, which looks for wrong labels.
        check_masks: Decode every mask in setup to find unknown class indices.
        check_files: Open every image and mask in setup to find what cannot be read or does not
            fit. False only checks that they exist; for hundreds of thousands of images.
        allow_overlap: Allow training on images that are held out in ``val_split`` or for ``test``.
            Else that is an error; where no label of theirs is used (``unlabeled_split``,
            supervision ``images``) they are counted in a warning.
        num_workers: Loader processes.
        seed: Seed of order and augmentation; None for the one of ``seed_everything``.
    """

    def __init__(
        self,
        *,
        supervision: Supervision = "mask",
        train_split: str = "train",
        val_split: str | None = "val",
        test_split: str | None = None,
        predict_split: str = "train",
        predict_limit: int | None = None,
        classes: list[str] | None = None,
        extra_roots: dict[str, str] | None = None,
        labeled_split: float | str | None = None,
        unlabeled_split: str | None = None,
        pseudo_label_dir: list[str] | str | None = None,
        repeat_labeled: bool = False,
        graph_dir: str | None = None,
        sparse_dir: str | None = None,
        complete_tags: bool = True,
        complete_boxes: bool = True,
        complete_sparse: bool = False,
        tag_conflicts: Literal["error", "report"] = "error",
        base_classes: list[str] | None = None,
        novel_classes: list[str] | str | None = None,
        crop_size: int = 320,
        batch_size: int = 8,
        unlabeled_batch_size: int | None = None,
        augmentation: Augmentation = _UNIMATCH,
        photometric: Literal["none", "pseudo", "all"] = "none",
        strong_views: int = 1,
        crop_tags: bool = False,
        audit: bool = False,
        check_masks: bool = True,
        check_files: bool = True,
        allow_overlap: bool = False,
        num_workers: int = 2,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.supervision = supervision
        self.train_split, self.val_split, self.test_split = train_split, val_split, test_split
        self.predict_split, self.predict_limit = predict_split, predict_limit
        self.classes, self.extra_roots = classes, extra_roots
        self.labeled_split, self.unlabeled_split = labeled_split, unlabeled_split
        self.pseudo_label_dir, self.repeat_labeled = pseudo_label_dir, repeat_labeled
        self.graph_dir = graph_dir
        self.sparse_dir, self.tag_conflicts = sparse_dir, tag_conflicts
        self.complete_tags, self.complete_boxes = complete_tags, complete_boxes
        self.complete_sparse = complete_sparse
        self._chosen_base, self._chosen_novel = base_classes, novel_classes
        self.crop_size, self.batch_size = crop_size, batch_size
        self.unlabeled_batch_size = (
            batch_size if unlabeled_batch_size is None else unlabeled_batch_size
        )
        self.augmentation, self.photometric = augmentation, photometric
        self.strong_views, self.crop_tags, self.audit = strong_views, crop_tags, audit
        self.check_masks, self.check_files = check_masks, check_files
        self.allow_overlap, self.num_workers = allow_overlap, num_workers
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        #: Whether batches of ``predict`` say what the labels of their images allow.
        self.gates_predictions = False
        #: Writers of a prediction; what all of them have done is left out.
        self.resumed_by: list[FindDone] = []
        self._ids: dict[str, list[str]] = {}
        self._tags: dict[str, NDArray[np.uint8]] = {}
        self._train: TrainingSet | None = None
        self._trained_pixels = AS_STORED
        #: Whether ``test`` measures ``val_split``, as there is nothing else; known since ``setup``.
        self.tests_val = False
        self.pad_color: tuple[float, float, float] = GREY
        #: Features of a region, D, known since ``setup`` where there are graphs.
        self.graph_channels: int | None = None

    def __str__(self) -> str:
        """Say what the data set holds: classes, and images by split; no image is read."""
        name = " ".join([type(self).__name__, str(getattr(self, "root", ""))]).strip()
        splits = dict.fromkeys((self.train_split, self.val_split, self.own_test_split()))
        try:
            lines = [f"{name}: {self.num_classes} classes ({', '.join(self.class_names)})"]
            lines += [f"  {split}: {len(self.ids_of(split))} images" for split in splits if split]
        except (OSError, ValueError) as error:
            return f"{name}: {error}"
        return "\n".join(lines)

    def predict_ids(self) -> list[str]:
        """List the ids that ``predict`` goes over, those that are done included."""
        return self.ids_of(self.predict_split)[: self.predict_limit]

    def own_test_split(self) -> str | None:
        """Name the split that ``test`` measures, unless it must measure ``val_split``."""
        return self.test_split

    def held_out_splits(self) -> list[str]:
        """Name the splits whose images training must not use."""
        return [split for split in (self.val_split, self.test_split) if split is not None]

    def overlaps(self, used: Collection[str]) -> list[str]:
        """Say which held-out images are among the training images ``used``, a line a split."""
        problems = []
        for split in dict.fromkeys(self.held_out_splits()):
            ids = self.ids_of(split)
            shared = [image_id for image_id in ids if image_id in used]
            if shared:
                problems.append(
                    f"{len(shared)} of {len(ids)} images of {split!r}, which are held out, are "
                    f"training images too, first: {', '.join(shared[:3])}; take them off one of "
                    "the lists, or say that it is meant: allow_overlap (--data.allow_overlap true)"
                )
        return problems

    def _check_overlap(self, train: TrainingSet) -> None:
        if isinstance(train, SparseImages):
            ids, count = train.ids, train.num_labeled
            parts = {"labeled": set(ids[:count]), "unlabeled": set(ids[count:])}
        elif isinstance(train, Mapping):
            parts = {name: training_ids(part) for name, part in train.items()}
        else:
            parts = {"": training_ids(train)}
        for name, used in parts.items():
            own_list = name == "unlabeled" and self.unlabeled_split is not None
            for problem in self.overlaps(used):
                if not (self.allow_overlap or own_list or self.supervision == "images"):
                    raise ValueError(problem)
                logger.warning(problem)

    def read_image(self, image_id: str) -> UInt8Array:
        """Read an RGB image, (H, W, 3)."""
        return self.source.read_image(image_id)

    def read_mask(self, image_id: str) -> UInt8Array | None:
        """Read the class index per pixel, (H, W), 255 = ignored; None where there is no mask."""
        return self.source.read_mask(image_id)

    def image_labels_of(self, image_id: str) -> NDArray[np.uint8] | None:
        """Look up the tags of an image, (K,), as known since ``setup``; None if they are not."""
        return self._tags.get(image_id)

    def state_dict(self) -> dict[str, Any]:
        """Return what checkpoints need of the data to be used without them."""
        state: dict[str, Any] = {"class_names": self.class_names, "background": self.background}
        pixels = self.pixels.state()
        state |= {"pixels": pixels} if pixels else {}
        return state | ({} if self._train is None else {"order": self.training_order()})

    def training_order(self) -> dict[str, Any]:
        """Return what the batches of an epoch depend on, by what it is called; after ``setup``."""
        assert self._train is not None
        order = {"data.seed": self.seed, "data.batch_size": self.batch_size}
        if self.supervision in ("semi", "sparse"):
            order["data.unlabeled_batch_size"] = self.unlabeled_batch_size
        ids = [part.encode() for part in training_lists(self._train)]
        digests = " ".join(hashlib.sha256(part).hexdigest()[:16] for part in ids)
        return order | {"the number of processes": self._ranks()[0], "the list of images": digests}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Show values and bands of images as the network was trained with, unless stated."""
        self.adopt_pixels(options_from_state(state_dict.get("pixels")))

    @property
    def pixels(self) -> PixelOptions:
        """Values and bands that are shown: what is stated, else what a checkpoint says."""
        stated, trained = self.stated_pixels, self._trained_pixels
        return PixelOptions(
            stated.value_range or trained.value_range, stated.bands or trained.bands
        )

    @property
    def stated_pixels(self) -> PixelOptions:
        """What the data set says of values and bands of its images; by default nothing."""
        return AS_STORED

    def adopt_pixels(self, trained: PixelOptions) -> None:
        """Take what is not stated of values and bands from a checkpoint; say what differs."""
        if trained == self._trained_pixels:
            return
        for name, value in trained.state().items():
            stated = self.stated_pixels.state().get(name)
            if stated is None:
                logger.info("%s is %s, as in the training of the checkpoint", name, value)
            elif stated != value:
                text = "%s is %s, but the checkpoint was trained with %s"
                logger.warning(text, name, stated, value)
        self._trained_pixels = trained
        self.__dict__.pop("source", None)  # opened before, it reads as it was told then

    def setup(self, stage: str) -> None:
        """Find and check every file that the stage will read.

        Raises:
            ValueError: If the method asks for another supervision, or a split or mask is wrong.
            FileNotFoundError: If files are missing; the message names the first.
        """
        method = self.trainer.lightning_module if self.trainer else None
        self.pad_color = getattr(method, "image_mean", GREY)
        self.check_classes()
        if self._has_graphs and stage in ("validate", "test"):
            raise ValueError(
                "supervision 'graphs' has nothing to validate or test: it corrects labels; run "
                "predict, which measures them where there are masks, or train Supervised on them"
            )
        if stage == "fit":
            wanted = getattr(method, "supervision", self.supervision)
            if wanted != self.supervision:
                raise ValueError(
                    f"{type(method).__name__} learns from supervision {wanted!r}, but "
                    f"{type(self).__name__} has supervision {self.supervision!r}; set it to "
                    f"{wanted!r}"
                )
            self._train = make_training_set(self, self._training_options())
            self._check_overlap(self._train)
            self.graph_channels = getattr(self._train, "graph_channels", None)
            if self.labeled_split is not None and self.trainer and self.trainer.is_global_zero:
                folder, labeled = Path(self.trainer.default_root_dir), self.labeled_ids()
                write_split(folder / "labeled_split.txt", labeled)
                known = set(labeled)
                left = [i for i in self.ids_of(self.train_split) if i not in known]
                write_split(folder / "unlabeled_split.txt", left)
        if stage in ("fit", "validate") and self.val_split is not None and not self._has_graphs:
            self._setup_evaluation("val", self.ids_of(self.val_split))
        if stage == "test":
            own = self.own_test_split()
            split = own or self.val_split
            if split is None:
                raise ValueError("test needs test_split or val_split; both are null")
            self.tests_val = own is None
            if self.tests_val:
                logger.warning(
                    "there is no test_split: test measures val_split %r, and its measures are "
                    "named val",
                    split,
                )
            self._setup_evaluation("test", self.ids_of(split))
        if stage == "predict":
            # Of an earlier prediction, of other images or another method.
            self.gates_predictions = False
            self.__dict__.pop("label_gate", None)
            self._setup_evaluation("predict", self.predict_ids())

    def train_dataloader(self) -> Any:
        """Load training batches, less the last, incomplete one.

        For ``semi`` see `semi_loader`, for ``sparse`` `joined_loader`.
        """
        if self._train is None:
            raise RuntimeError("train_dataloader needs setup('fit') first")
        order = Order(self.seed, *self._ranks(), self._batches_done)
        if isinstance(self._train, SparseImages):
            labeled = self._train.num_labeled
            groups = labeled, len(self._train) - labeled
            per_batch = self.batch_size, self.unlabeled_batch_size
            return joined_loader(self._train, groups, per_batch, self.num_workers, order)
        if isinstance(self._train, Dataset):
            return train_loader(self._train, self.batch_size, self.num_workers, order)
        sizes = {"labeled": self.batch_size, "unlabeled": self.unlabeled_batch_size}
        return semi_loader(self._train, sizes, self.num_workers, order)

    def val_dataloader(self) -> Any:
        """Load whole images of ``val_split`` one at a time; none if there is no validation."""
        if "val" in self._ids:
            return self._evaluation_loader("val")
        # Lightning would ask whether that was the intention.
        warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")
        return []

    def test_dataloader(self) -> Any:
        """Load whole images of ``test_split`` one at a time."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> Any:
        """Load whole images of ``predict_split`` one at a time, less those that are done."""
        return self._evaluation_loader("predict", done_ids(self.resumed_by))

    def _setup_evaluation(self, stage: str, ids: list[str]) -> None:
        if not ids:
            raise ValueError(f"the {stage} split of {type(self).__name__} has no images")
        if len(ids) < self._ranks()[0]:
            # A process without an image would leave Lightning's loop, and the others would wait.
            raise ValueError(
                f"the {stage} split of {type(self).__name__} has {len(ids)} images for "
                f"{self._ranks()[0]} processes; take fewer devices or more images"
            )
        masks = stage != "predict" and self.supervision != "images"
        self.check_images(ids, masks=masks)
        self._ids[stage] = ids
        if self._has_graphs:
            # Only background and tagged classes can win a correction, so each image needs tags.
            first = open_graphs(self.graph_dir, self.class_names, ids)
            self.graph_channels = first.x.shape[1]
            self._tags.update(self.complete_labels(ids))
        else:
            self._tags.update(self.labels_of(ids, from_masks=False))

    def _evaluation_loader(self, stage: str, done: Collection[str] = ()) -> DataLoader[Sample]:
        ids = [image_id for image_id in self._ids[stage] if image_id not in done]
        first_fg = int(self.background)
        gate = self.label_gate if stage == "predict" and self.gates_predictions else None
        images = EvaluationImages(ids, self.source, self._tags, self.num_fg_classes, first_fg, gate)
        dataset: Dataset[Sample] = images
        if self._has_graphs:
            # Here, as it takes seconds to import.
            from wsss_zoo.data.supervision.graphs import GraphImages

            dataset = GraphImages(images, Path(str(self.graph_dir)))
        return evaluation_loader(dataset, self.num_workers, *self._ranks())

    def _training_options(self) -> TrainingOptions:
        names = [field.name for field in fields(TrainingOptions)]
        return TrainingOptions(**{name: getattr(self, name) for name in names})

    @cached_property
    def label_gate(self) -> LabelGate:
        """Says what the labels of the images to predict allow, in ``sparse``."""
        return make_label_gate(self, self._training_options(), self.predict_ids())

    @property
    def _has_graphs(self) -> bool:
        return self.supervision == "graphs"

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _batches_done(self) -> int:
        """Count the batches of the epoch that a checkpoint being resumed has already seen."""
        if self.trainer is None or not self.trainer.training:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
