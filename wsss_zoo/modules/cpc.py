"""Parts of contrastive predictive coding: context over rows of patches, and predictions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.functional import info_nce_loss


class RowContext(nn.Module):
    """Context of a patch from its neighbours and the rows above, computed from the top row down.

    The residual blocks consist of 1x1, 1x3 (within the row), 2x1 (the row and the one above) and
    1x1 convolutions. Row i of the result depends only on rows 0 to i of the input.

    Args:
        channels: Channels D of the patches' features and of the context.
        hidden: Channels inside the blocks.
        blocks: Number of blocks, >= 1; each sees one row further up and one column to either side.

    The PixelCNN-like network in the appendix of Hénaff et al., "Data-Efficient Image Recognition
    with Contrastive Predictive Coding", ICML 2020.
    """

    def __init__(self, channels: int, hidden: int = 256, blocks: int = 5) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError(f"blocks is {blocks}; a context needs at least 1")
        self.blocks = nn.ModuleList(_CausalBlock(channels, hidden) for _ in range(blocks))

    def forward(self, latents: Tensor) -> Tensor:
        """Compute the context (N, D, rows, columns) of features (N, D, rows, columns)."""
        for block in self.blocks:
            latents = latents + block(latents)
        return F.relu(latents)


class _CausalBlock(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.across = nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1))
        self.down = nn.Conv2d(hidden, hidden, (2, 1))
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.across(F.relu(self.reduce(latents)))
        hidden = self.down(F.pad(hidden, (0, 0, 1, 0)))
        expanded: Tensor = self.expand(F.relu(hidden))
        return expanded


class RowPrediction(nn.Module):
    """Prediction of rows of patches below the context: one linear map per distance, with a score.

    The targets are a linear map of the patches' features. The score of a patch for a context is
    therefore the paper's bilinear form, of rank ``target_dim``. Negatives are all other patches of
    the batch, including those of the same image.

    Args:
        channels: Channels D of features and context.
        skip_rows: Number of rows, >= 0, right below the context that are not predicted.
        predict_rows: Largest number of rows, >= 1, predicted after them.
        target_dim: Length of the compared vectors.
        temperature: Divisor of the scores.
    """

    def __init__(
        self,
        channels: int,
        skip_rows: int = 1,
        predict_rows: int = 3,
        target_dim: int = 64,
        temperature: float = 10.0,
    ) -> None:
        super().__init__()
        if skip_rows < 0 or predict_rows < 1:
            raise ValueError(
                f"skip_rows is {skip_rows} and predict_rows {predict_rows}; give at least 0 and 1"
            )
        self.skip_rows, self.temperature = skip_rows, temperature
        self.target = nn.Conv2d(channels, target_dim, 1)
        self.maps = nn.ModuleList(nn.Conv2d(channels, target_dim, 1) for _ in range(predict_rows))

    def forward(self, latents: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Compute InfoNCE loss and accuracy, scalars averaged over the distances that fit the grid.

        Features of the patches and context are (N, D, rows, columns).

        Raises:
            ValueError: If the grid has no row that could be predicted.
        """
        count, _, rows, columns = latents.shape
        reachable = range(self.skip_rows + 1, rows)
        if not reachable:
            raise ValueError(
                f"{rows} rows of patches leave none to predict after skip_rows {self.skip_rows}; "
                "give larger crops, or smaller patches or strides"
            )
        targets = self.target(latents).permute(0, 2, 3, 1).flatten(0, 2)
        place = torch.arange(len(targets), device=latents.device).view(count, rows, columns)
        # With few rows the last maps have nothing to predict.
        results = [
            info_nce_loss(
                linear(context[:, :, :-distance]).permute(0, 2, 3, 1).flatten(0, 2),
                targets,
                place[:, distance:].flatten(),
                self.temperature,
            )
            for distance, linear in zip(reachable, self.maps, strict=False)
        ]
        losses, accuracies = zip(*results, strict=True)
        # Gives them a zero gradient; distributed training refuses a missing one.
        idle = [value.sum() for value in self.maps[len(losses) :].parameters()]
        return torch.stack(losses).mean() + 0 * sum(idle), torch.stack(accuracies).mean()
