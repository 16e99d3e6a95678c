"""How times grow with the number of images: set-up, loading, prediction, validation."""

from functools import partial

import pytest

from tests.benchmarks.test_growth_benchmark import exponent
from tests.benchmarks.whole_runs import CASES
from tests.data.large_folder import settings, write_large_folder
from wsss_zoo.data import VOC2012, Folder

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


@pytest.mark.benchmark
@pytest.mark.parametrize("regime", ["mask", "semi"])
def test_set_up(regime, tmp_path, measured):
    sizes, works = [2000, 4000, 8000, 16000], []
    for size in sizes:
        write_large_folder(tmp_path / str(size), size // 500, 500)
        options = settings(regime, tmp_path / str(size))
        works.append(lambda options=options: Folder(**options).setup("fit"))
    works[0]()
    measured("p of time ~ images^p, set-up", exponent(sizes, works), at_most=1.15)


@pytest.mark.benchmark
def test_loading(photos, measured):
    sizes, works = [7, 14, 28, 56], []
    lists = photos / "ImageSets" / "Segmentation"
    ids = (lists / "train.txt").read_text().split()
    for size in sizes:
        (lists / f"first{size}.txt").write_text("\n".join(ids[:size]))
        options = {"train_split": f"first{size}", "val_split": None, "batch_size": 7}
        data = VOC2012(str(photos), num_workers=0, **options)
        data.setup("fit")
        works.append(lambda data=data: list(data.train_dataloader()))
    works[0]()
    measured("p of time ~ images^p, loading", exponent(sizes, works), at_most=1.15)


@pytest.mark.benchmark
@pytest.mark.parametrize("case", ["predict-CAM", "predict-Supervised", "validate-Supervised"])
def test_whole_runs(case, tmp_path_factory, measured):
    """From the trainer's start to the last file or metric."""
    run, make = CASES[case]
    sizes, method = [20, 40, 80, 160], make()
    works = [partial(fresh, run, method, tmp_path_factory, size) for size in sizes]
    works[0]()
    measured("p of time ~ images^p", exponent(sizes, works, rounds=2), at_most=1.15)


def fresh(run, method, folders, size):
    """In a folder of its own: what is there would not be made again."""
    run(method, folders.mktemp("run"), size)
