"""Compute what `dense_crf` does with pydensecrf2, a wrapper of the authors' C++ code."""

import numpy as np
from pydensecrf import densecrf


def reference_crf(
    probs,
    image,
    *,
    iterations=10,
    gaussian_sxy=3.0,
    gaussian_weight=3.0,
    bilateral_sxy=80.0,
    bilateral_srgb=13.0,
    bilateral_weight=10.0,
):
    energy = -np.log(np.clip(probs, 1e-5, 1.0).astype(np.float32))
    num_classes, height, width = energy.shape
    model = densecrf.DenseCRF2D(width, height, num_classes)
    model.setUnaryEnergy(np.ascontiguousarray(energy).reshape(num_classes, -1))
    if gaussian_weight > 0 and iterations > 0:
        model.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_weight)
    if bilateral_weight > 0 and iterations > 0:
        # Its typed views take writable memory only.
        rgb = np.require(image, requirements=["C", "W"])
        model.addPairwiseBilateral(
            sxy=bilateral_sxy, srgb=bilateral_srgb, rgbim=rgb, compat=bilateral_weight
        )
    refined = np.array(model.inference(iterations), dtype=np.float32, order="C")
    return refined.reshape(energy.shape)
