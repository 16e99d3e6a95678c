"""Gradients of a step on two processes, against one process with both batches."""

import pytest
import torch
from pytorch_lightning import Callback
from torch.utils.data import DataLoader

from tests.methods.weak_shot_batches import masks as weak_shot_masks
from wsss_zoo import CoAttention, MaskFormer, SelfRegulation, SimFormer

TINY, SIZE = "test_efficientnet", 32

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
# Both images of each pair have a class alone: which ones a process gets then decides nothing.
TAGS = [[1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
OTHER_TAGS = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
PROPOSALS = {"queries": 6, "channels": 8, "decoder_layers": 2, "feedforward": 16, "grad_clip": 0.0}
DOMAINS, OTHER_DOMAINS = [0, 1, 0, 1], [0, 1, 1, 0]


def image(generator):
    return torch.rand(3, SIZE, SIZE, generator=generator)


def pairs():
    generator = torch.Generator().manual_seed(0)

    def side(tags, domain):
        return {
            "image": image(generator),
            "image_labels": torch.tensor(tags),
            "domain": torch.tensor(domain),
        }

    rows = zip(TAGS, DOMAINS, OTHER_TAGS, OTHER_DOMAINS, strict=True)
    return [{**side(*row[:2]), "other": side(*row[2:])} for row in rows]


def masks():
    """As many pixels of 255 in each: a process takes the mean over its own."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for number in range(4):
        mask = torch.randint(0, 4, (SIZE, SIZE), generator=generator)
        mask[4 * number : 4 * number + 5] = 255
        samples.append({"image": image(generator), "mask": mask})
    return samples


def unequal_masks():
    """One class more in each: the divisors of the processes differ."""
    samples = masks()
    for number, sample in enumerate(samples):
        sample["mask"] = torch.where(sample["mask"] > number, 255, sample["mask"])
    return samples


def weak_shot():
    """Images of the second process have no novel class: what it adds to that loss is 0."""
    generator, sides = torch.Generator().manual_seed(0), []
    for seed in (0, 1):
        mask, valid, tags = weak_shot_masks(4, SIZE, SIZE, seed, ((3,), (), (2, 3), ()))
        parts = {"mask": mask.where(mask < 2, 255), "valid": valid, "image_labels": tags[:, 1:4]}
        sides.append(
            [
                {"image": image(generator)} | {name: part[n] for name, part in parts.items()}
                for n in range(4)
            ]
        )
    return [{**one, "reference": other} for one, other in zip(*sides, strict=True)]


class Gradients(Callback):
    """Writes down the gradients and the loss of the first step."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
        gradients = {name: p.grad for name, p in method.named_parameters()}
        path = self.path.with_name(f"{self.path.name}_{trainer.global_rank}")
        torch.save({"gradients": gradients, "loss": outputs["loss"]}, path)


def step(make, samples, trainer, path, **devices):
    torch.manual_seed(0)
    method = make().double().eval()  # BatchNorm has its running statistics, as without ranks
    options = {"max_steps": 1, "limit_val_batches": 0, "precision": "64-true", **devices}
    fit = trainer(callbacks=[Gradients(path)], **options)
    fit.fit(method, DataLoader(samples, batch_size=4 // fit.world_size))


@pytest.mark.parametrize(
    ("kind", "options", "samples"),
    [
        (CoAttention, {"variant": "paper", "by_domain": True}, pairs),
        (CoAttention, {"variant": "code"}, pairs),
        (SelfRegulation, {"variant": "soft", "tau": 2.0}, masks),
        (SelfRegulation, {"variant": "features", "exit_head": "full"}, masks),
        (MaskFormer, PROPOSALS, unequal_masks),
        (SimFormer, PROPOSALS | {"pair_weight": 0.0, "distill_weight": 0.0}, weak_shot),
    ],
)
def test_two_processes_have_the_gradients_of_one(
    kind, options, samples, trainer, tmp_path, monkeypatch
):
    if kind is CoAttention:
        options = {**options, "output_stride": 16, "convs": 1}
        # From this epoch on the released code has its contrast.
        monkeypatch.setattr(CoAttention, "current_epoch", 2)

    def make():
        return kind(4, TINY, **options)

    step(make, samples(), trainer, tmp_path / "one")
    step(make, samples(), trainer, tmp_path / "two", devices=2, strategy="ddp_fork")
    one, *two = (
        torch.load(tmp_path / name, weights_only=True) for name in ("one_0", "two_0", "two_1")
    )
    # The processes had different images.
    assert two[0]["loss"] != two[1]["loss"]
    torch.testing.assert_close((two[0]["loss"] + two[1]["loss"]) / 2, one["loss"])
    # The queries that come into a mask transformer's first layer are 0.
    idle = [name for name, gradient in one["gradients"].items() if not gradient.any()]
    assert all(name.startswith("model.decoder.layers.0.") for name in idle)
    for rank in two:
        torch.testing.assert_close(rank["gradients"], one["gradients"], rtol=1e-6, atol=1e-10)
