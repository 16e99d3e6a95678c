"""Label noise corrected on superpixel graphs: what is believed teaches a GAT the rest."""

import logging
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.contract import GraphBatch, GraphEvaluationBatch, find_data
from wsss_zoo.functional import (
    WriteBack,
    majority,
    nearest_clean,
    region_loss,
    seed_missing_classes,
)
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.graphs.image_network import absent_classes, fit_to_image, image_seed
from wsss_zoo.methods.graphs.region_painting import UNKNOWN, believed_classes, paint, refine
from wsss_zoo.methods.optimizer import Optimizer, make_optimizer
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.modules import Evaluation, Layer, RegionNetwork

logger = logging.getLogger(__name__)


class GATCorrector(BaseMethod):
    """Corrects noisy pixel labels: clean regions teach a graph network to label the others.

    Works on the region graphs that ``predict`` of a network trained on true masks has written
    (``graphs.pseudo_label_dir``). These hold superpixels with pooled features, joined where they
    touch and are similar, and for every pixel whether its label is believed. A region is labelled
    by the majority of its clean pixels, where they are at least ``quorum`` of it. The network
    learns these labels by their mean cross-entropy, among background and the image's tags.
    ``predict`` gives each noisy pixel the class of its region.

    Logs ``train/node_acc``, the accuracy on the labelled regions, and ``train/clean_nodes``, their
    share. A batch without any has loss 0. Images without clean regions fall back to the clean
    network ("per_image", "nearest") or the shared one. Images with one class keep it.

    Args:
        num_classes: Number of classes C, background included.
        in_channels: Length of the graphs' features: 256 for a DeepLabV3+ decoder.
        mode: "shared": one network, trained by ``fit`` on the graphs of all images. "per_image": a
            new one for every image, trained in ``predict`` on that image alone. There is no fit,
            and only classes of the image's clean regions can come out. A tagged class without any
            is seeded with the region of lowest loss that the noisy labels give to it.
        layer: "gat" (attention) or "gcn" (convolution of the same width); see `RegionNetwork`.
        hidden: Channels of an attention head.
        heads: Attention heads of the first layer.
        dropout: Dropout of inputs and attention, in [0, 1).
        steps: "per_image": training steps on an image.
        quorum: Least share, in [0, 1], of a region that has to be clean.
        detection: False: believe all labels when learning, and none when writing back.
        prune: Leave out edges between dissimilar regions.
        use_probs: Append the clean network's probabilities to the features.
        balance: Cross-entropy as the mean over classes, not over regions. Of several processes
            each looks at the classes of its own images.
        fill: Where noisy pixels get their class from: "network"; "nearest", the clean region the
            fewest edges away and then the most similar; "clean_net", the clean network's prediction
            among the tags. The last two are baselines that learn nothing.
        write_back: "keep_pixels": only noisy pixels change; "keep_nodes": each labelled region
            takes its majority; "all": all pixels take what the network says.
        crf: Refine with a dense CRF over background and tagged classes.
        crf_cap: Probability in (0.5, 1] that a class has at most where the CRF begins.
        crf_weight: Weight of the CRF's colour kernel; more of it erases thin objects.
        lr: Learning rate; with the polynomial schedule in ``fit``, constant in "per_image".

    Raises:
        ValueError: If an option is unknown or outside its range, the graphs have other features,
            or there is nothing to fit, to validate or to evaluate in another way.

    Yi, Huang, Guan, Pu, Zhang, "Learning from Pixel-Level Label Noise: A New Perspective for
    Semi-Supervised Semantic Segmentation", arXiv:2103.14242 (IEEE TIP 2021). No code is known.
    Heads, widths, learning rate, quorum, seeds, modes and the way back to pixels are ours; the
    sizes are those of the GAT paper.
    """

    supervision = "graphs"
    output = "segmentation"
    needs_background = True
    fixed_options = ("head_lr_mult", "layer_decay", "grad_checkpointing")

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 256,
        mode: Literal["per_image", "shared"] = "shared",
        layer: Layer = "gat",
        hidden: int = 8,
        heads: int = 8,
        dropout: float = 0.6,
        steps: int = 200,
        quorum: float = 0.5,
        detection: bool = True,
        prune: bool = True,
        use_probs: bool = False,
        balance: bool = False,
        fill: Literal["network", "nearest", "clean_net"] = "network",
        write_back: WriteBack = "keep_pixels",
        crf: bool = False,
        crf_cap: float = 0.9,
        crf_weight: float = 4.0,
        lr: float = 5e-3,
        weight_decay: float = 5e-4,
        optimizer: Optimizer = "adam",
        **shared: Any,
    ) -> None:
        super().__init__(
            lr,
            head_lr_mult=1.0,
            weight_decay=weight_decay,
            optimizer=optimizer,
            layer_decay=1.0,
            grad_checkpointing=False,
            **shared,
        )
        _check_options(self.hparams)
        #: The shared network; None where each image has its own or nothing is learnt.
        self.corrector: RegionNetwork | None = None
        if fill == "network":
            # Made for "per_image" too: its options are checked before any image.
            network = self._make_network(in_channels)
            self.corrector = network if mode == "shared" else None
        if self.corrector is None and self.hparams["init_from"] is not None:
            raise ValueError(
                f"init_from is given, but with mode {mode!r} and fill {fill!r} there is no network "
                "to start; leave it out, or take mode 'shared' and fill 'network'"
            )
        self.start_from(self.hparams["init_from"])

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Grey: no image is padded."""
        return (0.5, 0.5, 0.5)

    def setup(self, stage: str) -> None:
        """Refuse what this method cannot do with these data, before anything is computed."""
        super().setup(stage)
        if stage == "fit" and self.corrector is None:
            raise ValueError(
                f"GATCorrector with mode {self.hparams['mode']!r} and fill {self.hparams['fill']!r}"
                " has nothing to fit; run predict straight away, or take mode 'shared' and fill "
                "'network'"
            )
        if stage in ("validate", "test"):
            raise ValueError(
                f"GATCorrector labels the images of graph_dir: there is nothing to {stage}; run "
                "predict, which measures its labels where there are masks (quality.json)"
            )
        if stage == "predict" and vars(self.evaluation) != vars(Evaluation()):
            raise ValueError(
                "evaluation.* is how a network is run on photographs, GATCorrector reads graphs; "
                "leave it out (a CRF: model.crf)"
            )
        data = find_data(self.trainer)
        given, own = getattr(data, "graph_channels", None), self.hparams["in_channels"]
        if self.corrector is not None and given is not None and given != own:
            raise ValueError(
                f"GATCorrector was made for in_channels {own}, but the features of the graphs have "
                f"length {given}; give model.in_channels {given}"
            )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Train all parameters at ``lr``."""
        return [{"name": "network", "lr": self.hparams["lr"], "params": list(self.parameters())}]

    def forward(self, graph: Any) -> Tensor:
        """Compute logits (V, C), float32, of a batch of graphs; -inf for what has no tag."""
        assert self.corrector is not None
        kept = graph.kept if self.hparams["prune"] else None
        logits: Tensor = self.corrector(self._inputs(graph), graph.edge_index, kept)
        return logits.masked_fill(~_shown(graph), -torch.inf)

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        """Compute the cross-entropy of the labelled regions of all images of the batch."""
        logits, labels = self(batch["graph"]), self.node_labels(batch["graph"])
        known = labels != UNKNOWN
        loss = region_loss(logits, labels, self.hparams["balance"])
        loss = share_of_global_mean(loss, known.sum())
        right = logits.detach().argmax(1) == labels  # no class is UNKNOWN
        logged = {
            "train/loss": loss.detach(),
            "train/node_acc": right.sum() / known.sum().clamp_min(1),
            "train/clean_nodes": known.float().mean(),
        }
        self.log_dict(logged, batch_size=len(batch["image_id"]))
        return loss

    # The data module of the regime gives more than others do.
    def predict_step(  # type: ignore[override]
        self, batch: GraphEvaluationBatch, batch_idx: int
    ) -> dict[str, Tensor]:
        """Predict {"preds", "confidence"}: corrected classes, their probabilities, (1, H, W)."""
        graph, options = batch["graph"], self.hparams
        votes = self.node_labels(graph)
        region_probs = self._region_probs(graph, votes, batch["image_id"][0])
        present = _shown(graph)[0].nonzero().flatten()
        rule = options["write_back"] if options["detection"] else None
        believed = believed_classes(batch, votes, present, rule)
        probs = paint(batch, believed, region_probs, present)
        if options["crf"] and len(present) > 1:
            probs = refine(probs, batch["image"][0], options["crf_cap"], options["crf_weight"])
        confidence, index = probs.max(0, keepdim=True)
        return {"preds": present[index], "confidence": confidence}

    def node_labels(self, graph: Any) -> Tensor:
        """Label each region by its clean pixels, 255 where too few, (V,) int64."""
        counts = graph.clean_counts if self.hparams["detection"] else graph.counts
        labels = majority(counts, graph.sizes, self.hparams["quorum"], UNKNOWN)
        index = torch.where(labels == UNKNOWN, 0, labels)
        # A folder from elsewhere may have labels that the tags exclude.
        return torch.where(_shown(graph).gather(1, index[:, None])[:, 0], labels, UNKNOWN)

    def label_settings(self) -> dict[str, Any]:
        """Give the hash of the graphs' manifest, and the seed if used, for that of the labels."""
        settings: dict[str, Any] = {}
        data = find_data(self.trainer)
        manifest = Path(data.graph_dir, "manifest.json") if data and data.graph_dir else None
        if manifest and manifest.is_file():
            settings["graphs"] = sha256(manifest.read_bytes()).hexdigest()
        per_image = self.hparams["mode"] == "per_image" and self.hparams["fill"] == "network"
        return settings | ({"seed": _seed()} if per_image else {})

    def _make_network(self, in_channels: int) -> RegionNetwork:
        options = {name: self.hparams[name] for name in ("layer", "hidden", "heads", "dropout")}
        classes = self.hparams["num_classes"]
        extra = classes if self.hparams["use_probs"] else 0
        return RegionNetwork(in_channels, classes, **options, extra_channels=extra)

    def _inputs(self, graph: Any) -> Tensor:
        parts = [graph.x, graph.probs] if self.hparams["use_probs"] else [graph.x]
        return torch.cat([part.float() for part in parts], 1)

    def _region_probs(self, graph: Any, votes: Tensor, image_id: str) -> Tensor | None:
        """Class probabilities of the regions (V, C); None: ask the clean network."""
        if self.corrector is not None:
            shared: Tensor = self(graph).softmax(1)
            return shared
        if self.hparams["fill"] == "clean_net":
            return None
        if (votes == UNKNOWN).all():
            logger.info("%s: no clean region, so the clean network labels it", image_id)
            return None
        labels = seed_missing_classes(votes, graph.counts, graph.loss, graph.tags[0], UNKNOWN)
        classes = self.hparams["num_classes"]
        edges = graph.edge_index[:, graph.kept] if self.hparams["prune"] else graph.edge_index
        if self.hparams["fill"] == "nearest":
            return F.one_hot(nearest_clean(labels, graph.x, edges, UNKNOWN), classes).float()
        occurs = ~absent_classes(labels, classes)
        if occurs.sum() == 1:
            logger.info("%s: its clean regions have one class, so it has no other", image_id)
            return occurs.float().expand(len(labels), -1)
        return fit_to_image(
            lambda: self._make_network(graph.x.shape[1]),
            self._optimizer_of,
            self._inputs(graph),
            edges,
            labels,
            self.hparams["steps"],
            image_seed(_seed(), image_id),
            self.hparams["balance"],
        )

    def _optimizer_of(self, network: RegionNetwork) -> torch.optim.Optimizer:
        group = {"lr": self.hparams["lr"], "params": list(network.parameters())}
        return make_optimizer(self.hparams["optimizer"], [group], self.hparams["weight_decay"])


def _shown(graph: Any) -> Tensor:
    """Classes that each region may have, background and its image's tags, (V, C) bool."""
    tags = graph.tags[graph.batch] > 0
    return torch.cat([torch.ones_like(tags[:, :1]), tags], 1)


def _seed() -> int:
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def _check_options(options: Mapping[str, Any]) -> None:
    if options["steps"] < 1:
        raise ValueError(f"steps is {options['steps']}; give at least 1")
    if not 0 <= options["quorum"] <= 1:
        raise ValueError(f"quorum is {options['quorum']}; give a share of the region in [0, 1]")
    if not 0.5 < options["crf_cap"] <= 1:
        raise ValueError(f"crf_cap is {options['crf_cap']}; give a probability in (0.5, 1]")
