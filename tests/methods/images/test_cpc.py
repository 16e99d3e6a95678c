"""CPC: finds patches, hands its encoder on, resumes, runs in half precision and on a (fake) GPU."""

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from wsss_zoo.callbacks import PretextMetrics
from wsss_zoo.data import Folder, Shapes
from wsss_zoo.functional import image_patches
from wsss_zoo.methods import CAM, CPC, Supervised

TINY = "test_efficientnet"
PATCHES = {"patch_size": 16, "patch_stride": 8, "context_blocks": 2, "val_size": 48}
TRAINED = {"lr": 3e-3, "head_lr_mult": 1.0, "weight_decay": 0.0}

# Lightning's hints on loaders: these tests have no workers and mostly no validation.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def make(**options):
    torch.manual_seed(0)
    return CPC(TINY, **(PATCHES | options))


def method(**options):
    """One without a trainer, which keeps what it logs."""
    result = make(**options)
    result.log_dict = lambda values: setattr(result, "logged", values)
    return result


def stripes(count, size=48):
    """Columns of colours that become darker downwards: what lies below can be told."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(count, 3, 1, 8, generator=generator).repeat_interleave(size // 8, 3)
    images = colours * torch.linspace(1, 0.2, size).view(1, 1, size, 1)
    return [{"image": image, "image_id": str(number)} for number, image in enumerate(images)]


@pytest.fixture(scope="module")
def batch():
    return torch.utils.data.default_collate(stripes(3))


@pytest.fixture
def loader():
    def make(steps=1, batch_size=4):
        return DataLoader(stripes(4) * steps, batch_size=batch_size)

    return make


@pytest.fixture
def run(trainer, loader):
    def fit(learner, steps=3, **options):
        engine = trainer(max_steps=steps, **options)
        engine.fit(learner, loader(steps))
        return engine

    return fit


@pytest.mark.slow
def test_finds_the_patches_of_pictures_that_go_on_below(run, trainer, loader):
    learner = make(**TRAINED)
    logged = run(learner, 40).logged_metrics
    assert float(logged["train/infonce_chance"]) == pytest.approx(1 / (4 * 5 * 5))
    assert logged["train/infonce_acc"] > 10 * logged["train/infonce_chance"]
    check = trainer(callbacks=[PretextMetrics()])
    values = check.validate(learner, loader(batch_size=2), verbose=False)[0]
    assert set(values) == {"val/loss", "val/infonce_acc", "val/infonce_chance"}
    assert values["val/infonce_chance"] == pytest.approx(1 / 25)
    assert values["val/infonce_acc"] > 5 / 25


def test_every_patch_is_encoded_by_itself(batch):
    learner = method().eval()
    with torch.no_grad():
        grid = learner(batch["image"])
        patches = image_patches(batch["image"], 16, 8)
        for n, row, column in [(0, 0, 0), (1, 3, 4), (2, 4, 2)]:
            alone = learner.backbone(patches[n, row, column][None])[-1].mean((2, 3))[0]
            torch.testing.assert_close(grid[n, :, row, column], alone, atol=1e-5, rtol=1e-4)


def test_frozen_batchnorm_keeps_patches_apart_and_training_mode_mixes_them(batch):
    image = batch["image"].clone()
    other = image.clone()
    other[:, :, 32:] = 0
    for freeze in (True, False):
        learner = method(freeze_backbone_bn=freeze).train()
        with torch.no_grad():
            same = torch.allclose(
                learner(image)[:, :, :3], learner(other)[:, :, :3], atol=1e-6, rtol=1e-4
            )
        assert same == freeze


def test_validation_takes_the_middle_and_enlarges_small_images(batch):
    learner = method().eval()
    image = torch.rand(2, 3, 80, 97)
    with torch.no_grad():
        output = learner.validation_step({"image": image}, 0)
        middle = image[:, :, 16:64, 24:72]
        latents = [learner(one[None]) for one in middle]
        expected = [learner._contrast(one, learner.context(one)) for one in latents]
        small = learner.validation_step({"image": torch.rand(1, 3, 20, 33)}, 0)
        assert learner.test_step({"image": image}, 0).keys() == output.keys()
    assert output["loss"].tolist() == pytest.approx([float(loss) for loss, _, _ in expected])
    assert output["infonce_acc"].tolist() == [float(accuracy) for _, accuracy, _ in expected]
    assert output["infonce_chance"].tolist() == pytest.approx([1 / 25] * 2)
    assert small["infonce_chance"].tolist() == pytest.approx([1 / 25])


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize("backbone", [TINY, "test_resnet"])
def test_other_methods_start_from_the_checkpoint(run, tmp_path, backbone, stride, caplog):
    learner = CPC(backbone, **PATCHES, **TRAINED)
    path = tmp_path / "last.ckpt"
    run(learner).save_checkpoint(path)
    encoder = learner.backbone.model.state_dict()
    segmenter = Supervised(3, backbone, "largefov", weights=str(path), output_stride=stride)
    classifier = CAM(3, backbone, weights=str(path), output_stride=stride)
    for started in (segmenter.network.backbone, classifier.backbone):
        state = started.model.state_dict()
        assert state.keys() == encoder.keys()
        assert all(torch.equal(state[name], value) for name, value in encoder.items())
    assert "tensors have no place in the backbone: context.blocks" in caplog.text


def test_checkpoint_that_is_missing_or_of_another_backbone(run, tmp_path):
    path = tmp_path / "last.ckpt"
    run(CPC("test_resnet", **PATCHES), 1).save_checkpoint(path)
    with pytest.raises(ValueError, match=r"last\.ckpt lacks .* give a file made for this backbone"):
        Supervised(3, TINY, weights=str(path))
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt does not exist; give the path of a"):
        Supervised(3, TINY, weights=str(tmp_path / "none.ckpt"))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read: it is corrupt"):
        Supervised(3, "test_resnet", weights=str(path))


def test_bfloat16_autocast_has_a_finite_float32_loss(batch):
    learner = method()
    with torch.autocast("cpu", torch.bfloat16):
        assert learner(batch["image"]).dtype == torch.bfloat16
        value = learner.training_step(batch, 0)
    assert value.dtype == learner.logged["train/infonce_acc"].dtype == torch.float32
    value.backward()
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters() if p.grad is not None)


def test_every_parameter_is_trained_when_the_grid_has_room(batch):
    learner = method()
    learner.training_step(batch, 0).backward()
    assert all(p.grad is not None for p in learner.parameters())
    backbone, head = learner.parameter_groups()
    assert len(backbone["params"]) + len(head["params"]) == len(list(learner.parameters()))


def test_learns_from_images_that_have_neither_masks_nor_tags(trainer, tmp_path):
    source = Shapes(num_train=6, image_size=48)
    (tmp_path / "classes.txt").write_text("background\na\n")
    (tmp_path / "images").mkdir()
    for image_id in source.split_ids("train"):
        path = tmp_path / "images" / f"{image_id}.png"
        Image.fromarray(source.read_image(image_id)).save(path)
    data = Folder(
        str(tmp_path),
        supervision="images",
        val_split="all",
        crop_size=48,
        batch_size=3,
        num_workers=0,
    )
    engine = trainer(max_epochs=1, callbacks=[PretextMetrics()])
    engine.fit(make(), data)
    assert engine.global_step == 2
    assert "val/infonce_acc" in engine.callback_metrics


def test_predict_is_refused(trainer, loader):
    with pytest.raises(ValueError, match=r"CPC trains an encoder .* as model\.weights"):
        trainer().predict(make(), loader())


def test_data_of_another_supervision_is_refused(trainer):
    data = Shapes(num_train=4, num_val=1, image_size=64, crop_size=64, num_workers=0)
    with pytest.raises(ValueError, match="CPC learns from supervision 'images', but Shapes has"):
        trainer(max_steps=1).fit(make(), data)


def test_bad_sizes(batch):
    with pytest.raises(ValueError, match="val_size is 8, less than patch_size 16"):
        method(val_size=8)
    with pytest.raises(ValueError, match="2 rows of patches leave none to predict"):
        method(patch_stride=24).training_step(batch, 0)
    with pytest.raises(ValueError, match="an image of 48 x 48 pixels has no patch of 65"):
        method(patch_size=65, val_size=65).training_step(batch, 0)
