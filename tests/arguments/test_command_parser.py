from pathlib import Path
from typing import final

import pytest

from tests.each import each
from wsss_zoo.arguments.command_parser import UsageError, parse_options, run_command, usage_errors
from wsss_zoo.modules.evaluation import Evaluation


@final
class Strokes(Evaluation):
    """A group of options, as it is no class to derive from."""


def paint(
    folders: list[Path],
    *,
    table: bool | Path = False,
    dry_run: bool = False,
    names: tuple[str, ...] = (),
    evaluation: Strokes,
    typed: str = "",
) -> int:
    """Paint folders with ``care``.

    Args:
        folders: Folders of images.
        table: Table to write.
        dry_run: Paint nothing.
        names: Names of colours.
        evaluation: How images are run.
    """
    with usage_errors():
        if dry_run:
            raise ValueError(f"{typed} paints nothing")
    return len(folders)


@each(
    ("args", "key", "value"),
    [
        ("a b", "folders", [Path("a"), Path("b")]),
        ("--dry-run a b", "folders", [Path("a"), Path("b")]),
        ("--dry_run true a", "dry_run", True),
        ("--dry-run=false a", "dry_run", False),
        ("a --table", "table", True),
        ("a --table --dry-run", "table", True),
        ("a --table t.md", "table", Path("t.md")),
        ("a --names x --names=y", "names", ("x", "y")),
        ("a --names [x,y]", "names", ("x", "y")),
        ("a --names x", "names", ("x",)),
        ("a", "names", ()),
    ],
)
def test_arguments_become_those_of_the_function(args, key, value):
    assert parse_options("paint", paint, args.split())[key] == value


def test_options_that_the_function_does_not_name():
    def pick(name: Path, *, dry_run: bool = False, other_options: tuple[str, ...] = ()) -> int:
        return 0

    args = ["a", "--model.lr", "1", "--dry-run", "--b=c"]
    given = parse_options("pick", pick, args)
    assert given == {
        "name": Path("a"),
        "dry_run": True,
        "other_options": ["--model.lr", "1", "--b=c"],
    }


def test_groups_of_options():
    given = parse_options("paint", paint, ["a", "--evaluation.scales", "[0.5, 1]"])
    assert given["evaluation"].scales == (0.5, 1.0)


def test_help_has_every_text(capsys):
    with pytest.raises(SystemExit):
        run_command("paint", paint, ["--help"])
    printed = capsys.readouterr().out
    assert printed.startswith("usage: wsss-zoo paint FOLDERS [options]\n\nPaint folders with care.")
    for text in ("Folders of images.", "Table to write.", "--dry_run [{true,false}]", "Names of"):
        assert text in printed
    assert "--evaluation.scales" in printed
    assert "typed" not in printed
    assert "<class" not in printed


def test_usage_errors_end_with_code_2(capsys):
    with pytest.raises(SystemExit) as caught:
        run_command("paint", paint, ["a", "--dry-run"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "wsss-zoo paint: error: wsss-zoo paint a --dry-run paints nothing\n"
        "wsss-zoo paint --help lists all options\n"
    )
    assert run_command("paint", paint, ["a", "b"]) == 2
    with pytest.raises(UsageError, match="x"), usage_errors():
        raise OSError("x")
