"""From the class activation maps of one image to its pseudo-label."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.callbacks.writers.saliency import saliency_settings
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.functional import cam_to_label, dense_crf, saliency_label
from wsss_zoo.functional.crf.pixel_adaptive import refine_scores

FloatArray = NDArray[np.float32]

# In IRN's label CRF the given label of a pixel has this probability, the others share the rest.
_LABEL_CONFIDENCE = 0.7
_SMALLEST_SCORE = 1e-5
_crf = partial(
    dense_crf, iterations=10, gaussian_sxy=3.0, gaussian_weight=3.0, bilateral_weight=10.0
)
_label_crf = partial(_crf, bilateral_sxy=50.0, bilateral_srgb=5.0)
_softmax_crf = partial(_crf, bilateral_sxy=80.0, bilateral_srgb=13.0)


@dataclass(frozen=True)
class CamLabelOptions:
    """How activation maps become labels: one of four kinds of background.

    Args:
        bg_threshold: Constant score of the background in [0, 1); not used with the others. "auto"
            stands for one that is chosen from the maps; see `choose_threshold`.
        bg_power: Exponent of PSA's background ``(1 - max_k cam_k) ** bg_power``; a small one gives
            a strong background.
        fg_conf: Background score of the foreground map of IRN's confident labels.
        bg_conf: Background score of their background map; below ``fg_conf``.
        crf: Refine with a dense CRF over the classes present.
        saliency_dir: Folder with a grey ``<image_id>.png`` of each image's size: how much a pixel
            stands out, 0 to 255. See `saliency_label`; without CRF.
        par: Refine the maps by PAR, before any kind of background; see `refine_cams`.
        dropped: Foreground classes, from 0, whose maps do not count; see `constant_tags`.

    Raises:
        ValueError: If a value is out of range or two kinds of background are asked for.
    """

    bg_threshold: float | Literal["auto"] = 0.15
    bg_power: float | None = None
    fg_conf: float | None = None
    bg_conf: float | None = None
    crf: bool = False
    saliency_dir: str | None = None
    par: bool = False
    dropped: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.bg_threshold, str):
            self._check_auto()
        elif not 0 <= self.bg_threshold < 1:
            raise ValueError(f"bg_threshold must be in [0, 1) or auto, got {self.bg_threshold}")
        if self.bg_power is not None and self.bg_power <= 0:
            raise ValueError(
                f"bg_power must be above 0, got {self.bg_power}; IRN and PSA use 4 to 32"
            )
        if (self.fg_conf is None) != (self.bg_conf is None):
            raise ValueError(
                f"fg_conf is {self.fg_conf} and bg_conf {self.bg_conf}; give both for confident "
                "labels (0.30 and 0.05) or neither"
            )
        if self.fg_conf is not None and self.bg_conf is not None:
            if not 0 <= self.bg_conf < self.fg_conf < 1:
                raise ValueError(
                    f"confident labels need 0 <= bg_conf < fg_conf < 1, got bg_conf {self.bg_conf} "
                    f"and fg_conf {self.fg_conf}"
                )
            if self.bg_power is not None:
                raise ValueError("bg_power and fg_conf/bg_conf exclude each other; leave one out")
        if self.crf and self.par:
            raise ValueError("crf and par exclude each other; leave one out")
        if self.saliency_dir is not None:
            self._check_saliency_alone()

    def _check_auto(self) -> None:
        if self.bg_threshold != "auto":
            raise ValueError(f"bg_threshold must be in [0, 1) or auto, got {self.bg_threshold!r}")
        others = ("bg_power", "fg_conf", "bg_conf", "saliency_dir")
        given = [name for name in others if getattr(self, name) is not None]
        if given:
            raise ValueError(
                f"bg_threshold auto chooses a constant background, but {', '.join(given)} asks for "
                "another kind; leave one out"
            )

    def _check_saliency_alone(self) -> None:
        if self.bg_power is not None or self.fg_conf is not None:
            raise ValueError(
                "saliency_dir excludes bg_power, fg_conf and bg_conf, which are other kinds of "
                "background; leave one out"
            )
        if self.crf:
            raise ValueError(
                "saliency_dir and crf exclude each other: pixels in doubt are left out of labels "
                "with saliency, not refined; leave one out"
            )

    def in_use(self) -> dict[str, Any]:
        """Return the options that decide the labels, by name; of a folder its name only."""
        refinement = {"crf": self.crf} | ({"par": True} if self.par else {})
        if self.saliency_dir is not None:
            return saliency_settings(self.saliency_dir) | refinement
        if self.bg_power is not None:
            return {"bg_power": self.bg_power} | refinement
        if self.fg_conf is not None:
            return {"fg_conf": self.fg_conf, "bg_conf": self.bg_conf} | refinement
        return {"bg_threshold": self.bg_threshold} | refinement


def refine_cams(cam: Tensor, image_labels: Tensor, image: Tensor) -> Tensor:
    """Refine the activation maps of tagged classes by `pixel_adaptive_refinement`.

    The weights of a pixel's neighbours add up to 1, so thresholds mean the same before and after.

    Args:
        cam: Maps in [0, 1], (N, K, H, W).
        image_labels: Tags, 1 where a class is present, (N, K).
        image: RGB images, (N, 3, H, W), on the device of the maps.

    Returns:
        (N, K, H, W); maps of classes that no image has stay as they are.
    """
    tagged = (image_labels > 0).any(0)
    if not tagged.any():
        return cam
    refined = cam.float().clone()
    refined[:, tagged] = refine_scores(image, refined[:, tagged])
    return refined


def cam_pseudo_label(
    cam: Tensor,
    image_labels: Tensor,
    options: CamLabelOptions,
    image: UInt8Array | None = None,
    saliency: FloatArray | None = None,
) -> UInt8Array:
    """Label one image by its activation maps.

    Args:
        cam: Maps in [0, 1], (K, H, W); with ``par`` those of `refine_cams`.
        image_labels: Tags, 1 where a class is present, (K,).
        options: Background and CRF.
        image: RGB image for the CRF, (H, W, 3); not needed without one.
        saliency: In [0, 1], (H, W); not needed without ``saliency_dir``.

    Returns:
        Class index per pixel, (H, W): 0 = background, 255 = neither certain foreground nor certain
        background (confident labels and saliency only). All background without tags. With no other
        tags than ``dropped`` ones all 255, but for background that saliency shows.

    Raises:
        ValueError: If the CRF is on and there is no image, or saliency is in use and there is none.

    Ahn, Cho, Kwak, CVPR 2019 (constant background, confident labels, label CRF; jiwoon-ahn/irn
    ``step/cam_to_ir_label.py``); Ahn, Kwak, CVPR 2018 (background power, softmax CRF;
    jiwoon-ahn/psa ``infer_cls.py``). PSA's CRF gets scores that do not sum to 1; in this
    implementation they do. A factor per pixel cancels in the mean field's softmax.
    """
    if options.crf and image is None:
        raise ValueError("a CRF needs the image; read it with the data module's read_image")
    if options.saliency_dir is None:
        saliency = None
    elif saliency is None:
        raise ValueError("labels with saliency need the saliency map; read it with read_saliency")
    kept = without(image_labels, options.dropped)
    if (image_labels > 0).any() and not (kept > 0).any():
        return _unexplained(cam.shape[-2:], saliency)
    if saliency is not None:
        return _saliency_label(cam, kept, saliency)
    present = kept.nonzero().flatten()
    maps = cam[present].float()
    if len(present) == 0:
        return np.zeros(cam.shape[1:], dtype=np.uint8)
    guide = image if options.crf else None
    if options.bg_power is not None:
        local = _power_label(maps.cpu().numpy(), options.bg_power, guide)
    elif options.fg_conf is not None and options.bg_conf is not None:
        fg = _constant_label(maps, options.fg_conf, guide)
        bg = _constant_label(maps, options.bg_conf, guide)
        local = np.where((fg == 0) & (bg != 0), IGNORE_INDEX, fg)
    elif isinstance(options.bg_threshold, str):
        raise ValueError("bg_threshold is auto; give the number that choose_threshold chose")
    else:
        local = _constant_label(maps, options.bg_threshold, guide)
    # Indices among the classes of this image become class indices.
    table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
    table[: len(present) + 1] = [0, *(present + 1).tolist()]
    label: UInt8Array = table[local]
    return label


def without(values: Tensor, dropped: Sequence[int], dim: int = 0) -> Tensor:
    """Set tags or maps of the dropped classes to 0; ``dim`` counts the classes."""
    if not dropped:
        return values
    return values.index_fill(dim, torch.tensor(dropped, device=values.device), 0)


def _unexplained(size: Sequence[int], saliency: FloatArray | None) -> UInt8Array:
    """Label of an image without a map that counts: background where nothing is salient, or 255."""
    if saliency is None:
        return np.full(tuple(size), IGNORE_INDEX, dtype=np.uint8)
    nothing = torch.zeros(1, *size), torch.ones(1)
    label = saliency_label(*nothing, torch.from_numpy(saliency), min_foreground=0)
    return label.numpy().astype(np.uint8)


def _saliency_label(cam: Tensor, image_labels: Tensor, saliency: FloatArray) -> UInt8Array:
    label = saliency_label(cam, image_labels, torch.from_numpy(saliency).to(cam.device))
    return label.cpu().numpy().astype(np.uint8)


def _constant_label(maps: Tensor, background: float, image: UInt8Array | None) -> NDArray[np.int64]:
    tags = torch.ones(1, len(maps), device=maps.device)
    label: NDArray[np.int64] = cam_to_label(maps[None], tags, background)[0].cpu().numpy()
    if image is None:
        return label
    channels = len(maps) + 1
    rest = (1 - _LABEL_CONFIDENCE) / (channels - 1)
    given = label == np.arange(channels)[:, None, None]
    probs = np.where(given, np.float32(_LABEL_CONFIDENCE), np.float32(rest))
    refined: NDArray[np.int64] = _label_crf(probs, image).argmax(axis=0)
    return refined


def _power_label(maps: FloatArray, power: float, image: UInt8Array | None) -> NDArray[np.int64]:
    background = (1 - maps.max(axis=0, keepdims=True)) ** power
    scores = np.concatenate([background, maps])  # background first: it wins ties
    if image is not None:
        scores = scores.clip(_SMALLEST_SCORE)
        scores = _softmax_crf(scores / scores.sum(axis=0), image)
    winner: NDArray[np.int64] = scores.argmax(axis=0)
    return winner


def cam_confidence(cam: Tensor, label: UInt8Array) -> float | None:
    """Average the score of each labelled pixel's class: its map, or 1 - the highest for background.

    Maps are (K, H, W) in [0, 1], labels (H, W); None where all pixels are 255.
    """
    given = torch.from_numpy(label).to(cam.device).long()
    known = given != IGNORE_INDEX
    background = 1 - cam.float().amax(0, keepdim=True)
    scores = torch.cat([background, cam.float()])
    return mean_over(scores.gather(0, given.where(known, 0)[None])[0], known)


def mean_over(values: Tensor, chosen: Tensor) -> float | None:
    """Average the chosen values, None where there are none; both are (H, W)."""
    return float(values[chosen].float().mean()) if chosen.any() else None
