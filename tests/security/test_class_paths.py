import contextlib
import inspect
import sys

import pytest
import torch
import yaml
from PIL import Image

from tests.checkpoints import NAMES, save_checkpoint
from tests.report.page.test_examples import write_labels
from tests.report.run_folders import config, write_results, write_run
from wsss_zoo import Shapes, Supervised
from wsss_zoo.cli import main
from wsss_zoo.data import BaseDataModule
from wsss_zoo.pipeline.recipe import Recipe, Step
from wsss_zoo.pipeline.summary import draw_step_sheet
from wsss_zoo.runs.data import make_data


class OwnShapes(Shapes):
    """A user's data set, named by its path."""


def command_of(name, marker):
    """A configuration of what is no class of the zoo, with arguments that make a folder."""
    arguments = {
        "os.mkdir": {"path": str(marker)},
        "subprocess.Popen": {"args": ["mkdir", str(marker)]},
    }
    return {"class_path": name, "init_args": arguments.get(name, {})}


@pytest.fixture(params=["os.mkdir", "subprocess.Popen", "trap"])
def foreign(request, trap, marker):
    name = f"{trap}.Trap" if request.param == "trap" else request.param
    return command_of(name, marker)


@pytest.mark.parametrize("key", ["data", "model"])
def test_compare(key, foreign, tmp_path, trap):
    run = write_run(tmp_path / "a")
    write_labels(run, 1)
    settings = config()
    settings[key] = foreign
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    page = tmp_path / "page.html"
    assert main(["compare", str(run), "--html", str(page)]) == 0
    assert trap not in sys.modules
    if key == "data":
        assert "is no data set of wsss_zoo" in page.read_text()


def test_arguments_of_a_data_set(foreign, tmp_path, trap):
    """A class in the place of any argument of a data set of the zoo."""
    arguments = {
        *inspect.signature(Shapes).parameters,
        *inspect.signature(BaseDataModule).parameters,
    }
    for argument in arguments - {"kwargs"}:
        for value in (foreign, [foreign], {"a": foreign}):
            settings = {"class_path": "wsss_zoo.Shapes", "init_args": {argument: value}}
            with pytest.raises(ValueError, match="only plain values"):
                make_data(settings)
        # A parser may take the name alone for the class.
        settings["init_args"][argument] = foreign["class_path"]
        with contextlib.suppress(ValueError):
            make_data(settings)
        assert trap not in sys.modules
    with pytest.raises(ValueError, match="Shapes does not take the options of the run"):
        make_data({"class_path": "Shapes", "init_args": {"crop_size": "wide"}})


def test_sheet_of_a_pipeline(foreign, tmp_path, trap):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "config.yaml").write_text(yaml.safe_dump({"data": foreign}))
    step = Step("maps", "predict", {"data": {"class_path": "Shapes"}})
    recipe = Recipe("r", (step,), sheet={"images": "maps"})
    with pytest.raises(ValueError, match="is no data set of wsss_zoo"):
        draw_step_sheet(recipe, tmp_path, tmp_path / "sheet.png")
    assert trap not in sys.modules


def test_data_sets_of_the_users_own():
    settings = {"class_path": f"{__name__}.OwnShapes", "init_args": {"num_workers": 0}}
    assert type(make_data(settings)) is OwnShapes
    short = {"class_path": "Shapes", "init_args": {}}
    assert type(make_data(short)) is Shapes


def test_data_set_that_the_user_asks_for_is_imported(tmp_path, monkeypatch):
    name = "wsss_zoo_own_data"
    (tmp_path / f"{name}.py").write_text("from wsss_zoo import Shapes\nclass Mine(Shapes): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"class_path": f"{name}.Mine", "init_args": {}}
    with pytest.raises(ValueError, match="is no data set of wsss_zoo"):
        make_data(settings)
    assert name not in sys.modules
    assert type(make_data(settings, f"{name}.Mine")).__name__ == "Mine"
    del sys.modules[name]


@pytest.mark.parametrize("command", ["label", "export"])
def test_method_that_a_checkpoint_names(command, foreign, tmp_path, trap, capsys):
    method = Supervised(3, backbone="test_resnet")
    name = foreign["class_path"]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    path = save_checkpoint(tmp_path / "a.ckpt", method, NAMES, _class_path=name)
    args = {
        "label": [str(tmp_path), "--out", str(tmp_path / "out")],
        "export": ["--format", "onnx", "--out", str(tmp_path / "a.onnx")],
    }[command]
    with pytest.raises((SystemExit, ValueError)) as failure:
        main([command, *args, "--ckpt_path", path])
    said = capsys.readouterr().err + str(failure.value)
    assert f"is of the method '{name}', which is none of wsss_zoo's" in said
    assert trap not in sys.modules


def test_arguments_that_a_checkpoint_names(foreign, tmp_path, trap, capsys):
    method = Supervised(3, backbone="test_resnet")
    path = save_checkpoint(tmp_path / "a.ckpt", method, NAMES, backbone=foreign)
    with pytest.raises((SystemExit, ValueError, TypeError, RuntimeError, AttributeError)):
        main(["export", "--format", "onnx", "--ckpt_path", path])
    assert trap not in sys.modules


def test_run_taken_by_a_pipeline(foreign, tmp_path, trap, capsys):
    run = write_run(tmp_path / "a")
    write_results(run, 0.5)
    settings = config()
    settings["model"] = settings["data"] = foreign
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / "checkpoints").mkdir()
    checkpoint = {"state_dict": {}, "hyper_parameters": {"_class_path": foreign["class_path"]}}
    checkpoint |= {"global_step": 40, "epoch": 1}
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    steps = {"one": {"command": "fit"}, "two": {"command": "validate"}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"steps": steps}))
    use = ["--use", f"one={run}", "--use", f"two={run}"]
    assert main(["pipeline", str(recipe), "--root", str(tmp_path / "root"), *use]) == 0
    assert trap not in sys.modules


@pytest.mark.parametrize("name", ["os.mkdir", "subprocess.Popen"])
@pytest.mark.parametrize("key", ["model", "data", "trainer.logger", "trainer.callbacks"])
def test_configurations(key, name, tmp_path, marker, capsys):
    """LightningCLI makes subclasses of what an option asks for, and nothing else."""
    foreign = command_of(name, marker)
    settings = {"model": {"class_path": "Supervised"}, "data": {"class_path": "Shapes"}}
    head, _, rest = key.partition(".")
    settings[head] = {rest: [foreign]} if rest else foreign
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(SystemExit) as exit_info:
        main(["fit", "--config", str(path)])
    assert exit_info.value.code == 2
    assert head in capsys.readouterr().err
