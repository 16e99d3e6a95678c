"""Training steps with compiled networks, and what becomes of the rest of a run."""

import shutil
from functools import partial

import pytest
import torch
from pytorch_lightning import Callback
from torch._dynamo.backends.debugging import aot_eager

from tests.methods.short_fits import short_fit
from tests.methods.zoo import CASES, quick
from tests.tiny import tiny
from wsss_zoo import GATCorrector
from wsss_zoo.callbacks import CompiledTraining
from wsss_zoo.cli import ZooCLI
from wsss_zoo.cli import training as zoo_cli
from wsss_zoo.modules import RegionNetwork

TINY = ["--model", "Supervised", *tiny()]

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning",
    "ignore::DeprecationWarning:torch.*",
)


class Counted(Callback):
    """A backend that counts when the code that it gives is run."""

    def __init__(self, backend=lambda graph, inputs: graph):
        self.backend, self.runs, self.before = backend, 0, 0
        self.in_steps, self.in_validation = [], None

    def __call__(self, graph, inputs):
        compiled = self.backend(graph, inputs)

        def run(*args):
            self.runs += 1
            return compiled(*args)

        return run

    def on_train_batch_start(self, *_):
        self.before = self.runs

    def on_train_batch_end(self, *_):
        self.in_steps.append(self.runs - self.before)

    def on_validation_start(self, *_):
        self.before = self.runs

    def on_validation_end(self, *_):
        self.in_validation = self.runs - self.before


# One for all, as compiled code is kept by what it stands for: from case to case, too.
TRACED = Counted()
# Networks of other cases under other losses, which are not compiled.
SAME_NETWORK = {"SelfRegulation features", "SimFormer code"}


# Two networks, and passes with and without gradients; the slow cases have all methods.
FORMS = ("FixMatch",)


@pytest.mark.parametrize("case", quick([c for c in CASES if c not in SAME_NETWORK], FORMS))
@torch._dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True)
def test_steps_run_compiled_and_the_same(case, trainer, tmp_path):
    TRACED.in_steps = []
    plain = short_fit(case, trainer, tmp_path, max_steps=2)
    callbacks = [CompiledTraining(TRACED), TRACED]
    compiled = short_fit(case, trainer, tmp_path, callbacks=callbacks, max_steps=2)
    assert len(TRACED.in_steps) == 2
    assert min(TRACED.in_steps) > 0
    torch.testing.assert_close(compiled.losses, plain.losses, rtol=1e-4, atol=1e-5)
    assert compiled.method.state_dict().keys() == plain.method.state_dict().keys()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
def test_steps_with_forward_and_backward_traced(case, trainer, tmp_path):
    """As inductor has them, each method alone and within the usual number of versions."""
    torch._dynamo.reset()
    plain = short_fit(case, trainer, tmp_path, max_steps=4)
    counted = Counted(aot_eager)
    callbacks = [CompiledTraining(counted), counted]
    compiled = short_fit(case, trainer, tmp_path, callbacks=callbacks, max_steps=4)
    assert min(counted.in_steps) > 0
    torch.testing.assert_close(compiled.losses, plain.losses, rtol=1e-3, atol=1e-4)


def without_dropout(method):
    """Inductor draws other masks."""
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
@pytest.mark.parametrize("case", ["CAM", "Supervised", "MaskFormer"])
def test_steps_with_inductor(case, trainer, tmp_path):
    torch._dynamo.reset()
    plain = short_fit(case, trainer, tmp_path, without_dropout)
    callbacks = [CompiledTraining()]
    compiled = short_fit(case, trainer, tmp_path, without_dropout, callbacks)
    torch.testing.assert_close(compiled.losses, plain.losses, rtol=0.02, atol=0)


def fit(folder, *options):
    first = ["--trainer.default_root_dir", str(folder), "--trainer.max_steps", "2"]
    return ZooCLI(["fit", *TINY, *first, *options])


@pytest.mark.parametrize(
    "backend",
    [
        "traced",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler"),
            ],
        ),
    ],
)
def test_a_checkpoint_of_a_compiled_run_is_a_plain_one(backend, tmp_path, monkeypatch):
    torch._dynamo.reset()
    counted = Counted()
    if backend == "traced":
        monkeypatch.setattr(
            zoo_cli.callbacks, "CompiledTraining", partial(CompiledTraining, counted)
        )
    run = fit(tmp_path / "run", "--compile", "true")
    assert any(isinstance(part, CompiledTraining) for part in run.trainer.callbacks)
    path = tmp_path / "run/checkpoints/last.ckpt"
    plain = fit(tmp_path / "plain")
    weights = torch.load(path, weights_only=True)["state_dict"]
    assert weights.keys() == plain.model.state_dict().keys()
    # The other way round, and eager where it was compiled.
    args = [*TINY, "--ckpt_path", str(path), "--trainer.default_root_dir", str(tmp_path / "run")]
    loaded = ZooCLI(["validate", *args]).model
    image = torch.rand(1, 3, 50, 70)
    runs = counted.runs
    with torch.no_grad():
        assert torch.equal(run.model.eval()(image), loaded.eval()(image))
    assert counted.runs == runs
    longer = fit(tmp_path / "run", "--ckpt_path", str(path), "--trainer.max_steps", "3")
    assert longer.trainer.global_step == 3


def test_only_training_steps_are_compiled(trainer, tmp_path):
    torch._dynamo.reset()
    counted = Counted()
    short_fit(
        "Supervised",
        trainer,
        tmp_path,
        callbacks=[CompiledTraining(counted), counted],
        max_steps=2,
        limit_val_batches=2,
        val_check_interval=1,
    )
    assert min(counted.in_steps) > 0
    assert counted.in_validation == 0
    assert torch._dynamo.eval_frame._stance.stance == "default"


class Crash(Callback):
    def on_train_batch_start(self, *_):
        raise ConnectionError("crash")


def test_a_crash_leaves_nothing_behind(trainer, tmp_path):
    made = []
    with pytest.raises(ConnectionError):
        short_fit(
            "CAM", trainer, tmp_path, made.append, callbacks=[CompiledTraining("eager"), Crash()]
        )
    assert torch._dynamo.eval_frame._stance.stance == "default"
    assert all(module._compiled_call_impl is None for module in made[0].modules())


def test_graphs_of_many_sizes_are_compiled_twice_at_most():
    torch._dynamo.reset()
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph

    network = RegionNetwork(5, 3)
    network.compile(backend=backend)
    for regions in (4, 9, 6, 20, 5):
        edges = torch.randint(0, regions, (2, 3 * regions))
        network(torch.rand(regions, 5), edges, torch.rand(3 * regions) > 0.5)
    assert len(made) <= 2


def test_a_method_without_a_network_is_refused(trainer, tmp_path):
    method = GATCorrector(7, 5, mode="per_image")
    callbacks = [CompiledTraining()]
    with pytest.raises(ValueError, match="GATCorrector with these options has no network"):
        trainer(callbacks=callbacks, max_steps=1).fit(method, [])
