"""Inference of a segmenter: whole or in windows, at scales, mirrored, with a CRF or PAR."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional import (
    dense_crf,
    gate_by_possible,
    normalize_tagged,
    reassign_by_tags,
    sliding_windows,
)
from wsss_zoo.functional.crf.pixel_adaptive import refine_scores
from wsss_zoo.functional.views.windows import LastWindow

Forward = Callable[[Tensor], Tensor]

# The usual post-processing of DeepLab at test time, as in ToCo and AFA.
_CRF_OPTIONS: dict[str, Any] = {"iterations": 10, "gaussian_sxy": 1.0, "gaussian_weight": 1.0}
_CRF_OPTIONS |= {"bilateral_sxy": 121.0, "bilateral_srgb": 5.0, "bilateral_weight": 4.0}


class Evaluation:
    """Class probabilities of an image at its own size, from any function image -> logits.

    By default this is the softmax of one forward pass. Otherwise the probabilities are averaged
    over scales, over the image and its mirror (in one batch), and over the windows of a scale that
    see a pixel. Memory does not grow with the number of windows or scales.

    Args:
        window: Side of the sliding windows in pixels of the scaled image, at least 1; None for the
            whole image.
        window_stride: Step between windows as a fraction of their side, in (0, 1].
        scales: Factors above 0 by which the image is resized, to (round(H s), round(W s)).
        flip: Average with the mirrored image.
        crf: Refine the averaged probabilities with a dense CRF over the classes that win at least
            one pixel. The others get probability 0.
        last_window: Shift the last window of a row or column back into the image ("shift"), or cut
            it off ("truncate").
        gate_by_tags: In ``predict`` allow only the background and the classes of an image's tags,
            in every view (`reassign_by_tags`), and find each of them (`normalize_tagged`).
            ``validate`` and ``test`` never use tags.
        par: Refine the averaged probabilities by `pixel_adaptive_refinement`, on the device; in
            place of ``crf``.
        gate_by_labels: In ``predict`` of sparse data allow at each pixel only what the image's own
            labels, boxes and tags allow (`gate_by_possible`); in place of ``gate_by_tags``.
        refit_by_labels: With ``gate_by_labels``, refit the class layer to the labelled pixels of
            each image first, and to the middles of its boxes (`refit_classes`).

    Sliding windows follow MCIS (ECCV 2020), with 401 and 2/3. The authors' code overwrites
    probabilities where windows overlap and still divides by the visits. This implementation adds
    them.
    """

    def __init__(
        self,
        window: int | None = None,
        window_stride: float = 2 / 3,
        scales: tuple[float, ...] = (1.0,),
        flip: bool = False,
        crf: bool = False,
        last_window: LastWindow = "shift",
        gate_by_tags: bool = False,
        par: bool = False,
        gate_by_labels: bool = False,
        refit_by_labels: bool = False,
    ) -> None:
        if window is not None and window < 1:
            raise ValueError(
                f"window is {window}; give a side >= 1 pixel, or null for the whole image"
            )
        if not 0 < window_stride <= 1:
            raise ValueError(
                f"window_stride is {window_stride}; give a fraction of the window in (0, 1]"
            )
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales is {list(scales)}; give at least one factor, all above 0")
        if crf and par:
            raise ValueError("evaluation.crf and evaluation.par exclude each other; leave one out")
        self.window, self.window_stride, self.last_window = window, window_stride, last_window
        if gate_by_labels and gate_by_tags:
            raise ValueError(
                "evaluation.gate_by_labels takes tags into account; leave gate_by_tags out"
            )
        if refit_by_labels and not gate_by_labels:
            raise ValueError(
                "evaluation.refit_by_labels needs evaluation.gate_by_labels true, which reads the "
                "labels of the images"
            )
        if refit_by_labels and window is not None:
            raise ValueError(
                "evaluation.refit_by_labels fits whole images; set evaluation.window to null"
            )
        self.scales, self.flip = tuple(scales), flip
        self.gate_by_labels, self.refit_by_labels = gate_by_labels, refit_by_labels
        self.crf, self.par, self.gate_by_tags = crf, par, gate_by_tags

    def tags(self, batch: Mapping[str, Any]) -> Tensor | None:
        """Return the tags that gate a batch's predictions, (N, C - 1), or None without gating.

        Raises:
            ValueError: If the batch has no tags and ``gate_by_tags`` asks for them.
        """
        if not self.gate_by_tags:
            return None
        if "image_labels" not in batch:
            raise ValueError(
                f"gate_by_tags needs the tags of every image, but {', '.join(batch['image_id'])} "
                "has none; give the data set image-level labels or leave out "
                "--evaluation.gate_by_tags"
            )
        tags: Tensor = batch["image_labels"]
        return tags

    def possible(self, batch: Mapping[str, Any]) -> Tensor | None:
        """Return the classes that labels allow, (N, C, H, W) bool, or None without this gating.

        Raises:
            ValueError: If the batch has none and ``gate_by_labels`` asks for them.
        """
        if not self.gate_by_labels:
            return None
        if "possible" not in batch:
            raise ValueError(
                "evaluation.gate_by_labels needs 'possible' in a batch, the classes that labels "
                "allow; predict with a data module of wsss_zoo, or leave the option out"
            )
        possible: Tensor = batch["possible"]
        return possible

    def __call__(
        self,
        forward: Forward,
        image: Tensor,
        tags: Tensor | None = None,
        possible: Tensor | None = None,
        background: bool = True,
    ) -> Tensor:
        """Compute probabilities (N, C, H, W), float32, of an image (N, 3, H, W) in [0, 1].

        Args:
            forward: Maps images (M, 3, H, W) to logits (M, C, H, W). M is a multiple of N: the
                batch, repeated.
            image: The whole images.
            tags: What `tags` returned, (N, C - 1); C then includes the background.
            possible: What `possible` returned, (N, C, H, W).
            background: Whether class 0 is the background, for ``possible``.
        """
        seen = forward if tags is None else _gated(forward, tags)
        size = (image.shape[-2], image.shape[-1])
        first, *others = self.scales
        probs = _resize(self._one_scale(seen, rescale(image, first)), size)
        for scale in others:
            probs += _resize(self._one_scale(seen, rescale(image, scale)), size)
        if others:
            probs = probs / len(self.scales)
        if tags is not None:
            probs = normalize_tagged(probs, tags)
        if possible is not None:
            probs = gate_by_possible(probs, possible, background)
        if self.par:
            probs = _refine_by_par(probs, image)
        elif self.crf:
            probs = _refine(probs, image)
        if possible is not None and (self.par or self.crf):
            # Neighbours have given what the labels of a pixel rule out.
            probs = gate_by_possible(probs, possible, background)
        return probs

    def preds(self, forward: Forward, image: Tensor) -> Tensor:
        """Find each pixel's most probable class, (N, H, W) int64; image (N, 3, H, W) in [0, 1]."""
        views = (self.window, self.scales, self.flip, self.crf or self.par)
        # The softmax of a single view keeps the order of its logits.
        is_single = views == (None, (1.0,), False, False)
        scores = forward(image) if is_single else self(forward, image)
        # On a CPU max is five times as fast as argmax.
        return scores.max(1).indices

    def _one_scale(self, forward: Forward, image: Tensor) -> Tensor:
        """Compute probabilities at the given image's size, averaged over windows and mirrors."""
        if self.window is None:
            return self._one_view(forward, image)
        total, visits = None, image.new_zeros(image.shape[-2:], dtype=torch.float32)
        stride = max(1, int(self.window * self.window_stride))
        height, width = image.shape[-2:]
        windows = sliding_windows(height, width, self.window, stride, self.last_window)
        for y0, x0, y1, x1 in windows:
            probs = self._one_view(forward, image[..., y0:y1, x0:x1])
            if total is None:
                total = probs.new_zeros(*probs.shape[:2], *image.shape[-2:])
            total[..., y0:y1, x0:x1] += probs
            visits[y0:y1, x0:x1] += 1
        assert total is not None
        return total / visits

    def _one_view(self, forward: Forward, image: Tensor) -> Tensor:
        if not self.flip:
            return forward(image).float().softmax(1)
        probs = forward(torch.cat([image, image.flip(-1)])).float().softmax(1)
        straight, mirrored = probs.chunk(2)
        return (straight + mirrored.flip(-1)) / 2


def _gated(forward: Forward, tags: Tensor) -> Forward:
    """Gate what ``forward`` gives by the tags of its images."""

    def gated_forward(image: Tensor) -> Tensor:
        return reassign_by_tags(forward(image), tags.repeat(len(image) // len(tags), 1))

    return gated_forward


def rescale(image: Tensor, scale: float) -> Tensor:
    """Resize an image (N, 3, H, W) in [0, 1] to (round(H s), round(W s)) with Pillow's bicubic."""
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    if (height, width) == tuple(image.shape[-2:]):
        return image
    # With antialias, torch uses Pillow's kernel also for enlarging, with the same overshoot.
    resized = F.interpolate(image, (height, width), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)


def _resize(probs: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bilinearly, which keeps probabilities in [0, 1] and their sum at 1."""
    if tuple(probs.shape[-2:]) == size:
        return probs
    return F.interpolate(probs, size=size, mode="bilinear", align_corners=False)


def _refine_by_par(probs: Tensor, image: Tensor) -> Tensor:
    """Run PAR over the classes that some pixel allows: those that tags rule out stay 0."""
    allowed = (probs > 0).flatten(2).any(2).any(0)
    refined = torch.zeros_like(probs)
    refined[:, allowed] = refine_scores(image, probs[:, allowed]).to(probs)
    return refined


def _refine(probs: Tensor, image: Tensor) -> Tensor:
    """Run the CRF over each image's winning classes; a single class stays unchanged."""
    refined = probs.clone()
    for i in range(len(probs)):
        present = torch.unique(probs[i].argmax(0))
        if len(present) == 1:
            continue
        kept = probs[i, present]
        kept = kept / kept.sum(0, keepdim=True)
        pixels = (image[i].permute(1, 2, 0) * 255).round().to(torch.uint8)
        arrays = kept.cpu().numpy(), pixels.contiguous().cpu().numpy()
        result = dense_crf(*arrays, **_CRF_OPTIONS)
        refined[i] = 0
        refined[i, present] = torch.from_numpy(result).to(probs)
    return refined
