"""Self-Regulation: its losses, what each switch does, and that prediction is the plain network."""

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from torch.utils.flop_counter import FlopCounterMode

from tests.each import each
from wsss_zoo.functional import feature_regulation_loss, self_regulation_loss
from wsss_zoo.methods import SelfRegulation, Supervised
from wsss_zoo.modules import inner_features

TINY = "test_efficientnet"

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


class Clock:
    """Stands for a trainer that is at a step."""

    global_step = 0


def method(**options):
    torch.manual_seed(0)
    result = SelfRegulation(4, **({"backbone": TINY} | options))
    result.log = lambda *_, **__: None
    result._trainer = Clock()
    return result.eval()


def images(size=64, tags=(1.0, 0.0, 1.0)):
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 4, (2, size, size), generator=generator)
    mask[:, :9] = 255
    return {
        "image": torch.rand(2, 3, size, size, generator=generator),
        "mask": mask,
        "image_labels": torch.tensor([tags, tags]),
        "image_id": ["a", "b"],
    }


def test_learns_two_images_and_starts_a_plain_network(samples, loader, trainer, tmp_path):
    torch.manual_seed(0)
    learner = SelfRegulation(4, TINY, lr=8e-3, head_lr_mult=1)
    fit = trainer(max_steps=30)
    fit.fit(learner, loader(30))
    outputs = fit.predict(learner, loader(batch_size=1))
    right = [
        (output["preds"] == sample["mask"])[:, sample["mask"] != 255].float().mean()
        for output, sample in zip(outputs, samples, strict=True)
    ]
    assert min(right) > 0.85
    fit.save_checkpoint(tmp_path / "last.ckpt")
    plain = Supervised(4, TINY, init_from=str(tmp_path / "last.ckpt")).eval()
    image = samples[0]["image"][None]
    with torch.no_grad():
        assert torch.equal(plain(image), learner.eval()(image))


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "unet"])
@pytest.mark.parametrize("variant", ["soft", "code"])
def test_full_heads_are_compared_at_the_size_of_the_image(architecture, variant):
    options = {"architecture": architecture, "variant": variant, "exit_head": "full", "tau": 2.0}
    learner, batch = method(**options), images(48)
    inner, decoded = inner_features(learner.network, batch["image"])
    maps, scores = learner.exits(inner, learner.network.head(decoded))
    maps = [F.interpolate(map_, (48, 48), mode="bilinear") for map_ in maps]
    present = torch.stack([torch.bincount(m[m != 255], minlength=4) > 0 for m in batch["mask"]])
    losses = self_regulation_loss(maps, scores, batch["mask"], present, variant, 2.0)
    torch.testing.assert_close(learner.training_step(batch, 0), losses["total"])


def test_light_heads_are_compared_on_cells():
    learner, batch = method(), images()
    inner, decoded = inner_features(learner.network, batch["image"])
    maps, scores = learner.exits(inner, learner.network.head(decoded))
    maps = [F.interpolate(map_, (16, 16), mode="bilinear") for map_ in maps]
    present = torch.stack([torch.bincount(m[m != 255], minlength=4) > 0 for m in batch["mask"]])
    losses = self_regulation_loss(maps, scores, batch["mask"][:, 2::4, 2::4], present, "soft")
    torch.testing.assert_close(learner.training_step(batch, 0), losses["total"])


def test_features_teach_features():
    learner, batch = method(variant="features", tau=0.5), images()
    logged = {}
    learner.log = logged.__setitem__
    learner.training_step(batch, 0)
    inner, decoded = inner_features(learner.network, batch["image"])
    students, teacher = learner.exits.project(inner, decoded)
    students = [F.interpolate(student, (16, 16), mode="bilinear") for student in students]
    teacher = F.avg_pool2d(teacher, teacher.shape[-1] // 16)
    valid = batch["mask"][:, 2::4, 2::4] != 255
    expected = feature_regulation_loss(students, teacher, valid, 0.5)
    torch.testing.assert_close(logged["train/loss_sr_f"], expected.detach())


@each("part", ["cls", "seg", "sr_f", "sr_l"])
def test_each_loss_can_be_switched_off(part):
    batch, logged = images(), {}
    whole, without = method(), method(**{f"{part}_weight": 0.0})
    whole.log = logged.__setitem__
    weight = {"cls": 0.2, "seg": 0.8}.get(part, 1.0)
    expected = whole.training_step(batch, 0) - weight * logged[f"train/loss_{part}"]
    torch.testing.assert_close(without.training_step(batch, 0), expected)


def test_warm_up_leaves_regulation_out():
    batch = images()
    plain = method(sr_f_weight=0.0, sr_l_weight=0.0).training_step(batch, 0)
    learner = method(warmup_steps=3)
    torch.testing.assert_close(learner.training_step(batch, 0), plain)
    learner.trainer.global_step = 3
    assert learner.training_step(batch, 0) > plain


def test_presence_is_read_from_the_mask_or_from_tags():
    batch = images(tags=(1.0, 0.0, 1.0))
    batch["mask"][batch["mask"] == 0] = 255
    batch["mask"][batch["mask"] == 1] = 2
    from_mask = method()._presence(batch, batch["mask"])
    assert from_mask.tolist() == [[0, 0, 1, 1]] * 2
    assert method(presence="tags")._presence(batch, batch["mask"]).tolist() == [[1, 1, 0, 1]] * 2
    # A class in the mask that the tags do not name is no error.
    assert method(presence="tags").training_step(batch, 0).isfinite()


@pytest.mark.parametrize("variant", ["soft", "code", "features"])
def test_images_of_255_alone_give_a_finite_loss(variant):
    learner, batch = method(variant=variant), images()
    batch["mask"] = torch.full_like(batch["mask"], 255)
    loss = learner.training_step(batch, 0)
    loss.backward()
    assert loss.isfinite()
    grads = [p.grad for p in learner.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)


def test_the_released_code_takes_255_for_background():
    batch = images()
    mapped = {**batch, "mask": batch["mask"].masked_fill(batch["mask"] == 255, 0)}
    released = method(variant="code", ignored_as_background=True)
    expected = method(variant="code").training_step(mapped, 0)
    torch.testing.assert_close(released.training_step(batch, 0), expected)
    with pytest.raises(ValueError, match="ignored_as_background is of the authors' code"):
        method(ignored_as_background=True)


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "largefov", "unet"])
def test_prediction_costs_what_the_plain_network_costs(architecture):
    image = torch.rand(1, 3, 64, 64)
    flops = []
    options = {"backbone": TINY, "architecture": architecture}
    for network in (method(**options), Supervised(4, **options).eval()):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image)
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1] > 0


@each("size", [50, 70])
@each("options", [{"variant": "features"}, {"architecture": "unet"}])
def test_crops_that_the_stride_does_not_divide(size, options):
    assert method(**options).training_step(images(size), 0).isfinite()


def test_resumes_to_the_same_weights_within_the_warm_up(loader, trainer, tmp_path):
    class Killed(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "last.ckpt")
                trainer.should_stop = True

    def run(seed, callbacks=(), **options):
        torch.manual_seed(seed)
        learner = SelfRegulation(4, TINY, variant="features", warmup_steps=3, lr=0.01)
        trainer(max_steps=5, callbacks=list(callbacks)).fit(learner, loader(5), **options)
        return learner.state_dict()

    whole = run(0)
    run(0, [Killed()])
    resumed = run(1, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_starts_from_a_plain_network_and_from_one_with_other_heads(tmp_path):
    image = images()["image"]
    plain, light = Supervised(4, TINY), method()
    for number, learner in enumerate((plain.eval(), light)):
        path = tmp_path / f"{number}.ckpt"
        torch.save({"state_dict": learner.state_dict()}, path)
        taught = method(exit_head="full", init_from=str(path))
        with torch.no_grad():
            assert torch.equal(taught(image), learner(image))


@each(
    ("options", "message"),
    [
        ({"variant": "hard"}, "variant is 'hard'"),
        ({"tau": 0.0}, "tau is 0"),
        ({"presence": "crop"}, "presence is 'crop'"),
        ({"exits": 9}, "exits is 9"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        method(**options)
