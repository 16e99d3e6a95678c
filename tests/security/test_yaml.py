import pytest
import yaml

from tests.report.run_folders import config, write_run
from wsss_zoo.cli import main
from wsss_zoo.data.reading.class_files import read_class_file
from wsss_zoo.pipeline.recipe import read_recipe
from wsss_zoo.report.page.photos import read_photos
from wsss_zoo.report.runs import read_run

KINDS = ["apply", "new", "object"]


def bomb(kind, marker):
    """YAML that makes a folder when it is read with a loader that builds objects."""
    if kind == "object":
        return f"!!python/object/apply:subprocess.check_call [[mkdir, {str(marker)!r}]]"
    return f"!!python/object/{kind}:os.mkdir [{str(marker)!r}]"


def test_the_bomb_is_one(tmp_path):
    yaml.unsafe_load(bomb("apply", tmp_path / "made"))
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("kind", KINDS)
def test_recipes(kind, tmp_path, marker):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"steps:\n  one: {bomb(kind, marker)}\n")
    with pytest.raises(ValueError, match=r"recipe\.yaml is not YAML: .*python/object"):
        read_recipe(path)


@pytest.mark.parametrize("command", ["fit", "predict", "reliability"])
@pytest.mark.parametrize("kind", KINDS)
def test_configurations(command, kind, tmp_path, marker, capsys):
    path = tmp_path / "config.yaml"
    path.write_text(f"{'last' if command == 'reliability' else 'trainer'}: {bomb(kind, marker)}\n")
    with pytest.raises(SystemExit) as exit_info:
        main([command, "--config", str(path)])
    assert exit_info.value.code == 2
    assert "python/object" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["label", "export", "compare", "inspect"])
def test_options_are_no_yaml_with_objects(command, tmp_path, marker, capsys):
    value = bomb("apply", marker)
    args = {
        "label": [str(tmp_path), "--ckpt_path", value],
        "export": ["--format", "onnx", "--ckpt_path", value],
        "compare": [str(tmp_path / "none"), "--metric", value],
        "inspect": ["--data", "Shapes", "--data.classes", value],
    }[command]
    with pytest.raises((SystemExit, ValueError, OSError)):
        main([command, *args])


def test_run_folders(tmp_path, marker):
    run = write_run(tmp_path / "a")
    (run / "config.yaml").write_text(f"model: {bomb('apply', marker)}\ndata: {{}}\n")
    problems = read_run(run).problems
    assert any("config.yaml cannot be read" in problem for problem in problems)
    photos, error = read_photos(run, ["a"])
    assert photos == {}
    assert "python/object" in error
    page = tmp_path / "page.html"
    assert main(["compare", str(run), "--html", str(page)]) == 0
    assert page.exists()


def test_run_taken_by_a_pipeline(tmp_path, marker, capsys):
    run = write_run(tmp_path / "a")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    (run / "config.yaml").write_text(f"model: {bomb('apply', marker)}\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"steps": {"one": {"command": "fit"}}}))
    root = ["--root", str(tmp_path / "root")]
    with pytest.raises(SystemExit) as caught:
        main(["pipeline", str(recipe), *root, "--use", f"one={run}"])
    assert caught.value.code == 2
    assert f"{run / 'config.yaml'} cannot be read" in capsys.readouterr().err


def test_values_that_are_read_to_compare_a_taken_run(tmp_path, marker, capsys):
    """A step and a run differ in an option whose text is YAML with an object."""
    run = write_run(tmp_path / "a", results=True)
    settings = config()
    settings["data"]["init_args"]["val_split"] = bomb("apply", marker)
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    step = {"command": "validate", "data": {"init_args": {"val_split": "other"}}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"steps": {"one": step}}))
    root = ["--root", str(tmp_path / "root")]
    assert main(["pipeline", str(recipe), *root, "--use", f"one={run}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "differs from step one: data.val_split is !!python/object" in said


def test_class_files(tmp_path, marker):
    path = tmp_path / "classes.txt"
    path.write_text(bomb("apply", marker) + "\n")
    assert read_class_file(path).names == [bomb("apply", marker)]
