"""What may change at a resume: batches between epochs only, options of callbacks always."""

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from tests.resumed_runs import train
from wsss_zoo.runs.checkpoints.same_run import keep_own_options

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
    pytest.mark.filterwarnings(r"ignore:The '\w+_dataloader' does not have many workers"),
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
]

FOUR_BATCHES = {"num_train": 8, "image_size": 32, "crop_size": 32}


@pytest.fixture(autouse=True)
def _alone():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def run(tmp_path):
    def of(case, steps):
        train(case, tmp_path / "r", data=FOUR_BATCHES, trainer={"max_steps": steps})
        return tmp_path / "r"

    return of


@pytest.mark.parametrize(
    ("case", "changed", "message"),
    [
        ("Supervised", {"batch_size": 4}, "after 3 batches, .*batch_size was 2 and is 4; resume"),
        ("Supervised", {"seed": 9}, "data.seed was 3 and is 9"),
        ("Supervised", {"num_train": 10}, "others left: the list of images; resume"),
        ("FixMatch", {"unlabeled_batch_size": 1}, "unlabeled_batch_size was 2 and is 1"),
    ],
)
def test_other_batches_within_an_epoch_are_refused(run, case, changed, message):
    folder = run(case, 3 if case == "Supervised" else 1)
    with pytest.raises(ValueError, match=message):
        train(case, folder, data=FOUR_BATCHES | changed)


def test_other_batches_after_an_epoch_are_used(run):
    folder = run("Supervised", 4)
    state = train(
        "Supervised", folder, data=FOUR_BATCHES | {"batch_size": 4}, trainer={"max_steps": 6}
    )
    assert state["/place/0"] == 6
    assert state["/place/1"] == 2  # an epoch of four batches and one of two


def test_patience_is_that_of_the_resumed_run(tmp_path):
    def stopper(patience):
        # The loss never gets so much better: the run stops after so many epochs.
        return EarlyStopping("train/loss", 100.0, patience, check_on_train_epoch_end=True)

    options = {"max_steps": -1, "max_epochs": 9, "check_val_every_n_epoch": 99}
    settings = {"data": FOUR_BATCHES, "trainer": options}
    state = train("Supervised", tmp_path / "r", stopper(1), **settings)
    assert state["/place/0"] == 2 * 4
    longer = stopper(4)
    state = train("Supervised", tmp_path / "r", longer, **settings)
    assert longer.patience == 4
    assert state["/place/0"] == 5 * 4


def test_as_many_models_as_are_asked_for_are_kept(tmp_path):
    models = {str(tmp_path / name): torch.tensor(value) for name, value in zip("abc", (3.0, 1.0, 2.0), strict=True)}
    callback = ModelCheckpoint(monitor="val/miou", mode="max", save_top_k=2)
    state = {"best_k_models": models, "kth_best_model_path": "b", "kth_value": torch.tensor(1.0)}

    class Run:
        callbacks = [callback]

    keep_own_options(Run(), {callback.state_key: state})
    assert [path[-1] for path in state["best_k_models"]] == ["a", "c"]
    assert state["kth_best_model_path"][-1] == "c"
    assert float(state["kth_value"]) == 2.0
