"""The setting that fits, after a training has run out of memory."""

import json

import pytest
import yaml

from wsss_zoo.training.out_of_memory import out_of_memory_lines


@pytest.fixture
def out(tmp_path):
    steps = {
        "supervised": {"data": {"init_args": {"batch_size": 8}}, "trainer": {"max_steps": 9}},
        "fixmatch": {"data": {"init_args": {"batch_size": 2}}},
    }
    common = {"data": {"init_args": {"crop_size": 160}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"common": common, "steps": steps}))
    for name in steps:
        (tmp_path / name).mkdir()
        (tmp_path / name / "started.json").write_text("{}")
    return tmp_path


def test_nothing_lacked(out):
    assert out_of_memory_lines(out) == []


def test_the_batch_is_halved_and_the_images_of_a_step_are_kept(out):
    (out / "supervised/out_of_memory.json").write_text("{}")
    (line,) = out_of_memory_lines(out)
    said = "supervised ran out of memory: set batch_size 4 and accumulate_grad_batches 2 for "
    assert line.startswith(f"{said}supervised in {out / 'recipe.yaml'}")


def test_the_training_that_was_killed_and_smaller_crops(out):
    (out / "supervised/done.json").write_text(json.dumps({"seconds": 1}))
    (line,) = out_of_memory_lines(out, killed=True)
    assert line.startswith("fixmatch was killed, most often for want of memory: set crop_size 96")


def test_runs_of_a_fold(out):
    fold = out / "fold1"
    (fold / "fixmatch").mkdir(parents=True)
    (fold / "fixmatch/out_of_memory.json").write_text("{}")
    assert out_of_memory_lines(out) == []
    assert len(out_of_memory_lines(out, fold)) == 1
