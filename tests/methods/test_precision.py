"""Every method in bfloat16 and in channels-last memory order."""

import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.methods.short_fits import short_fit
from tests.methods.zoo import CASES, KINDS, STEPS, quick
from wsss_zoo import modules
from wsss_zoo.functional import complementary_dropout

HALF = (torch.bfloat16, torch.float16)
# Where networks are: their layers, and what runs them piece by piece.
NETWORKS = (modules.__path__[0], torch.nn.modules.module.__file__)
# Factors of 0, 1 and 2 are exact.
NETWORKS += (complementary_dropout.__code__.co_filename,)
# What moves or compares values takes no precision from them.
NO_ARITHMETIC = {
    *("_to_copy", "detach", "alias", "clone", "view", "unsqueeze", "slice", "select", "split"),
    *("split_with_sizes", "transpose", "expand", "roll", "index", "gather", "cat", "argmax", "ge"),
}
# Cases with convolutions of their own.
CONVOLUTIONS = [*CASES, "Supervised largefov", "Supervised unet"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


class NoHalfArithmetic(TorchDispatchMode):
    """Raises where anything but a network computes in half precision."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if any(value.dtype in HALF for value in given):
            self.seen += 1
            name = func.overloadpacket.__name__
            if name not in NO_ARITHMETIC and not in_a_network():
                raise TypeError(f"{name} in half precision")
        return func(*args, **(kwargs or {}))


def in_a_network():
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(NETWORKS):
            return True
        frame = frame.f_back
    return False


def watched_by(mode):
    """The step, its losses and what it logs, but not the gradients: they follow the losses."""

    def prepare(method):
        step = method.training_step

        def training_step(*args):
            with mode:
                return step(*args)

        method.training_step = training_step

    return prepare


def without_dropout(method):
    """It draws in the order of the memory; UniMatch's own is none of the network's."""
    method.hparams.update(feature_dropout=0.0, intact_share=1.0)
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def distance(gradients, others):
    """Norm of the difference over the norm."""
    both = [torch.cat([g[name].flatten() for name in others]) for g in (gradients, others)]
    return (both[0] - both[1]).norm() / both[1].norm()


@pytest.fixture(scope="module")
def known_fits():
    return {}


@pytest.fixture
def plain_fit(known_fits, trainer, tmp_path):
    """Steps in float32, of each case once."""

    def make(case):
        if case not in known_fits:
            steps = 3 if case in CASES else 1
            known_fits[case] = short_fit(case, trainer, tmp_path, without_dropout, max_steps=steps)
        return known_fits[case]

    return make


@pytest.mark.parametrize("case", quick(STEPS, KINDS))
def test_bf16_trains_like_float32_with_losses_in_float32(case, plain_fit, trainer, tmp_path):
    """The first loss within 2 %, those after one and two steps within 5 %.

    Rounding is felt most where BatchNorm sees two images; there the difference of the gradients had
    0.6 of their norm at most, against 1.4 of unrelated ones.
    """
    plain, mode = plain_fit(case), NoHalfArithmetic()
    steps = len(plain.losses)

    def prepare(method):
        without_dropout(method)
        watched_by(mode)(method)

    half = short_fit(case, trainer, tmp_path, prepare, max_steps=steps, precision="bf16-mixed")
    # Graphs are small: their network is in float32 under autocast too.
    assert mode.seen or case.startswith("GATCorrector")
    assert len(half.losses) == steps
    assert {loss.dtype for loss in half.losses} == {torch.float32}
    torch.testing.assert_close(half.losses[0], plain.losses[0], rtol=0.02, atol=0)
    torch.testing.assert_close(half.losses, plain.losses, rtol=0.05, atol=0)
    assert half.gradients[0].keys() == plain.gradients[0].keys()
    for gradients in half.gradients:
        assert all(value.isfinite().all() for value in gradients.values())
    assert distance(half.gradients[0], plain.gradients[0]) < 0.8
    assert half.metrics.keys() == plain.metrics.keys()
    assert {value.dtype for value in half.metrics.values()} == {torch.float32}
    for value in (*half.method.state_dict().values(), *half.metrics.values()):
        assert value.isfinite().all()
        assert value.dtype not in HALF


@pytest.mark.parametrize("case", quick(CASES, KINDS))
def test_float64_trains(case, trainer, tmp_path):
    """In numbers of their own: PyTorch draws others in double precision."""
    double = short_fit(case, trainer, tmp_path, precision="64-true")
    assert double.losses[0].isfinite()
    assert {value.dtype for value in double.gradients[0].values()} == {torch.float64}
    assert all(value.isfinite().all() for value in double.gradients[0].values())


def test_a_loss_in_half_precision_is_caught():
    logits = torch.zeros(2, 3, dtype=torch.bfloat16)
    target = torch.zeros(2, dtype=torch.int64)
    for wrong in (
        lambda: logits.softmax(1),
        lambda: torch.nn.functional.cross_entropy(logits, target),
        lambda: torch.nn.functional.binary_cross_entropy_with_logits(logits, logits),
        lambda: logits.sum(),
    ):
        with pytest.raises(TypeError, match="in half precision"), NoHalfArithmetic():
            wrong()


def channels_last(method):
    without_dropout(method)
    method.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "case", quick(CONVOLUTIONS, [*KINDS, "Supervised largefov", "Supervised unet"])
)
def test_channels_last_gives_the_same_and_stays(case, plain_fit, trainer, tmp_path):
    plain, last = plain_fit(case), short_fit(case, trainer, tmp_path, channels_last)
    torch.testing.assert_close(last.losses[0], plain.losses[0], rtol=1e-4, atol=0)
    assert last.gradients[0].keys() == plain.gradients[0].keys()
    assert distance(last.gradients[0], plain.gradients[0]) < 0.03
    # A step and what a checkpoint gives back leave the order as it is.
    path = tmp_path / "weights.pt"
    torch.save(last.method.state_dict(), path)
    last.method.load_state_dict(torch.load(path, weights_only=True))
    # With one channel or one pixel both orders are the same.
    weights = [value for value in last.method.parameters() if value.ndim == 4]
    weights = [value for value in weights if value.shape[1] > 1 < value.shape[2]]
    assert weights or case.startswith("GATCorrector")
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in weights)
    assert not any(value.is_contiguous() for value in weights)
