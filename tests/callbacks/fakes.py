"""Small stand-ins for methods and data modules: what callbacks see of them, and nothing more."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from wsss_zoo.contract import FindDone, done_ids

NAMES = ["background", "cat", "cow", "dog"]
IDS = [f"img_{index}" for index in range(6)]


def seed_of(image_id: str) -> int:
    return sum(map(ord, image_id))


class ToyData(LightningDataModule):
    """Images of noise, masks of blobs; sizes differ between images."""

    class_names = NAMES
    background = True
    predict_split = "train"

    def __init__(self, ids: list[str] = IDS, masks: bool = True) -> None:
        super().__init__()
        self.ids, self.masks = ids, masks
        self.resumed_by: list[FindDone] = []

    def predict_ids(self) -> list[str]:
        return list(self.ids)

    def read_image(self, image_id: str) -> np.ndarray:
        rng = np.random.default_rng(seed_of(image_id))
        height, width = 12 + seed_of(image_id) % 5, 18
        coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        return coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]

    def read_mask(self, image_id: str) -> np.ndarray | None:
        if not self.masks:
            return None
        tags = self.image_labels_of(image_id)
        image = self.read_image(image_id).astype(int)
        mask = np.where(image.max(2) > 140, image.argmax(2) + 1, 0)
        mask[(mask > 0) & (tags[mask - 1] == 0)] = 0
        mask[0] = 255
        return mask.astype(np.uint8)

    def image_labels_of(self, image_id: str) -> np.ndarray:
        bits = seed_of(image_id) % 8
        return np.array([bits & 1, bits >> 1 & 1, bits >> 2 & 1], dtype=np.uint8)

    def sample(self, image_id: str) -> dict[str, Any]:
        sample = {
            "image": torch.from_numpy(self.read_image(image_id)).permute(2, 0, 1) / 255,
            "image_labels": torch.from_numpy(self.image_labels_of(image_id)).float(),
            "image_id": image_id,
        }
        mask = self.read_mask(image_id)
        return sample if mask is None else sample | {"mask": torch.from_numpy(mask).long()}

    def loader(self, ids: list[str]) -> DataLoader[dict[str, Any]]:
        return DataLoader([self.sample(i) for i in ids], batch_size=1)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.loader(self.ids[:2])

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.loader(self.ids)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.loader(self.ids)

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        done = done_ids(self.resumed_by)
        return self.loader([i for i in self.ids if i not in done])


class ToyMethod(LightningModule):
    """A method whose outputs are functions of the batch."""

    output = "segmentation"

    def __init__(self, weight: float = 1.0, name: str = "toy") -> None:
        super().__init__()
        self.save_hyperparameters("name")
        self.weight = torch.nn.Parameter(torch.tensor([weight]))
        self.seen: list[str] = []
        self.fail_at: str | None = None

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def outputs(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        # Each test says what its method returns.
        raise NotImplementedError

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, torch.Tensor]:
        return self.outputs(batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, torch.Tensor]:
        return self.outputs(batch)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, torch.Tensor]:
        if self.fail_at in batch["image_id"]:
            raise RuntimeError("killed")
        whole = self.trainer.datamodule.read_image(batch["image_id"][0])  # type: ignore[attr-defined]
        if batch["image"].shape[-2:] == whole.shape[:2]:  # else a smaller view
            self.seen += batch["image_id"]
        return self.outputs(batch)


class ToySegmenter(ToyMethod):
    """Predicts the brightest colour channel as class 1, 2 or 3, and never background."""

    def outputs(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        confidence, channel = (batch["image"] * self.weight).max(dim=1)
        return {"preds": channel + 1, "confidence": confidence}


class ToyCAM(ToyMethod):
    """The colour channels are the activation maps, their means the scores."""

    output = "classification"

    def outputs(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        image = batch["image"] * self.weight
        gate = batch["image_labels"][:, :, None, None]
        return {"scores": 8 * image.mean(dim=(2, 3)) - 4, "cam": image * gate}


def trainer_in(folder: Any, *callbacks: Any, **options: Any) -> Trainer:
    return Trainer(
        **{
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "default_root_dir": str(folder),
            "callbacks": list(callbacks),
        }
        | options
    )


def changed(method: ToyMethod, outputs: Callable[[dict[str, Any]], Any]) -> ToyMethod:
    """The method with other outputs."""
    method.outputs = outputs  # type: ignore[method-assign]
    return method
