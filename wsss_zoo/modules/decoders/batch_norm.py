"""BatchNorm for batches that may have a single value per channel."""

import torch.nn.functional as F
from torch import Tensor, nn


class SingleValueBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that uses its running statistics where a batch has one value per channel."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, D, h, w)."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


def accept_single_values(module: nn.Module) -> None:
    """Replace the BatchNorms inside a module by those that accept single values."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                made = SingleValueBatchNorm2d(child.num_features, child.eps, child.momentum)
                setattr(parent, name, made)
