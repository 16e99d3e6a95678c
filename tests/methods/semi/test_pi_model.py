"""Pi-model: its loss and both of its gradients against closed forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.each import each
from tests.methods.semi_batches import TINY, changed, quiet, semi_batch
from wsss_zoo import Shapes
from wsss_zoo.methods import PiModel


def method(step=0, **options):
    torch.manual_seed(0)
    return quiet(PiModel(4, TINY, **options), step)


def views_of(batch, views):
    """Both views and the pixels that both show."""
    half = batch["unlabeled"]
    if views == "two_strong":
        valid = half["strong_valid"][:, 0] & half["strong_valid"][:, 1]
        return half["strong"][:, 0], half["strong"][:, 1], valid
    return half["weak"], half["strong"][:, 0], half["valid"] & half["strong_valid"][:, 0]


@pytest.mark.parametrize("views", ["weak_strong", "two_strong"])
def test_loss_is_what_it_says(views):
    batch, learner = semi_batch(), method(views=views, unlabeled_weight=7.0).eval()
    loss = learner.training_step(batch, 0).detach()
    first, second, valid = views_of(batch, views)
    assert not torch.equal(valid, batch["unlabeled"]["valid"])
    with torch.no_grad():
        difference = learner(first).softmax(1) - learner(second).softmax(1)
        total = sum(
            float(difference[n, :, y, x].square().sum()) for n, y, x in valid.nonzero().tolist()
        )
        labeled = batch["labeled"]
        supervised = F.cross_entropy(learner(labeled["image"]), labeled["mask"], ignore_index=255)
    consistency = total / (4 * int(valid.sum()))
    assert float(loss) == pytest.approx(float(supervised) + 7 * consistency, rel=1e-4)
    assert float(learner.logged["train/loss_unlabeled"]) == pytest.approx(consistency, rel=1e-3)
    assert float(learner.logged["train/loss_labeled"]) == pytest.approx(float(supervised), rel=1e-4)


class Linear(nn.Module):
    """A 1x1 convolution in float64, whose gradient is known in closed form."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1, bias=False, dtype=torch.float64)

    def forward(self, image):
        self.images = len(image)
        return self.layer(image.double())


def softmax_gradient(probs, upstream):
    """Gradient to the scores of a softmax, from that to its probabilities."""
    return probs * (upstream - (probs * upstream).sum(1, keepdim=True))


@pytest.mark.parametrize("views", ["weak_strong", "two_strong"])
@each("detach_first", [False, True])
def test_gradient_through_both_passes_is_the_closed_form(views, detach_first):
    batch = semi_batch()
    batch["labeled"]["mask"].fill_(255)
    learner = method(views=views, detach_first=detach_first, unlabeled_weight=3.0)
    # Scores of float64 reach the loss as float32.
    learner.network = network = Linear()
    learner.training_step(batch, 0).backward()
    assert network.images == 2 + 3 + 3
    first, second, valid = (value.double() for value in views_of(batch, views))
    weight = network.layer.weight.detach()[:, :, 0, 0]
    one, two = (torch.einsum("kc,nchw->nkhw", weight, v).softmax(1) for v in (first, second))
    upstream = 2 * 3.0 * (one - two) * valid[:, None] / (4 * valid.sum())
    through = [
        torch.einsum("nkhw,nchw->kc", softmax_gradient(probs, sign * upstream), view)
        for probs, sign, view in ((one, 1, first), (two, -1, second))
    ]
    expected = through[1] if detach_first else through[0] + through[1]
    assert through[0].abs().max() > 1e-6
    torch.testing.assert_close(
        network.layer.weight.grad[:, :, 0, 0], expected, rtol=1e-3, atol=1e-7
    )


def test_views_get_dropout_of_their_own():
    batch = semi_batch()
    weak = batch["unlabeled"]["weak"]
    same = changed(batch, strong=weak[:, None])
    learner = method()
    for module in learner.modules():
        module.training = isinstance(module, nn.Dropout)
    learner.training_step(same, 0)
    assert learner.logged["train/loss_unlabeled"] > 0
    learner.eval().training_step(same, 0)
    # The same but for the order of sums in a batch.
    assert learner.logged["train/loss_unlabeled"] < 1e-10


def test_pixels_that_one_view_hides_do_not_count():
    batch, learner = semi_batch(), method().eval()
    hidden = ~batch["unlabeled"]["strong_valid"][:, 0]
    noise = torch.where(hidden[:, None], torch.rand(3, 3, 64, 64), batch["unlabeled"]["weak"])
    learner.network = Linear()
    loss = learner.training_step(batch, 0)
    assert torch.equal(loss, learner.training_step(changed(batch, weak=noise), 0))


@each(("step", "share"), [(0, 0.006738), (5, 0.286505), (10, 1.0), (50, 1.0)])
def test_weight_grows(step, share):
    learner = method(step, unlabeled_weight=20.0, rampup_steps=10)
    learner.training_step(semi_batch(), 0)
    assert learner.logged["train/unlabeled_weight"] == pytest.approx(20 * share, rel=1e-4)


def test_second_strong_view_must_be_drawn(trainer):
    data = Shapes(supervision="semi", num_train=4, num_val=0, labeled_split=0.5, val_split=None)
    with pytest.raises(ValueError, match="PiModel needs 2 strong views of each unlabelled image"):
        trainer(max_steps=1).fit(PiModel(7, TINY, views="two_strong"), datamodule=data)


@each(
    ("options", "message"),
    [
        ({"views": "weak"}, "views is 'weak'; give 'weak_strong' or 'two_strong'"),
        ({"rampup_steps": -1}, "rampup_steps is -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        PiModel(4, TINY, **options)
