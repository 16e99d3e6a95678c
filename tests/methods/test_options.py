"""Options of methods: each has a text, which names the choices that there are."""

import inspect
import re
from typing import Literal, get_args, get_origin

import pytest
from jsonargparse import ArgumentParser

from wsss_zoo import methods
from wsss_zoo.methods import FixMatch, SemiMethod, Supervised
from wsss_zoo.methods.options import check_choices, option_types

METHODS = [name for name in methods.__all__ if not name.endswith("Method")]


def texts(kind: type) -> dict[str, str]:
    """Texts of all options by name, as ``--model.help`` takes them: a subclass's own first."""
    found: dict[str, str] = {}
    for base in kind.__mro__:
        arguments = re.search(r"\nArgs:\n(.*?)(\n\S|\Z)", inspect.getdoc(base) or "", re.DOTALL)
        if base.__module__.startswith("wsss_zoo.") and arguments:
            for name, text in re.findall(
                r"^    (\w+): (.*?)(?=^    \w|\Z)", arguments[1] + "\n", re.DOTALL | re.MULTILINE
            ):
                found.setdefault(name, " ".join(text.split()))
    return found


@pytest.mark.parametrize("name", METHODS)
def test_every_option_has_a_text_with_its_choices(name):
    kind = getattr(methods, name)
    documented, types = texts(kind), kind.option_types()
    assert set(types) <= set(documented)
    assert set(documented) - set(types) <= set(kind.fixed_options)
    for option, hint in types.items():
        if get_origin(hint) is Literal:
            named = set(re.findall(r'"([\w.]+)"', documented[option]))
            assert named == set(get_args(hint)), f"{option}: {documented[option]}"


@pytest.mark.parametrize("name", METHODS)
def test_every_choice_is_checked(name):
    kind = getattr(methods, name)
    sizes = {"num_classes": 3} if "num_classes" in kind.option_types() else {}
    for option, hint in kind.option_types().items():
        if get_origin(hint) is Literal:
            message = f"{option} is 'other'; give .*'{get_args(hint)[-1]}'$"
            with pytest.raises(ValueError, match=message):
                kind(**(sizes | {option: "other"}))


@pytest.mark.parametrize("name", METHODS)
def test_fixed_options_cannot_be_given(name):
    """They would be ignored."""
    kind, parser = getattr(methods, name), ArgumentParser()
    parser.add_class_arguments(kind, "model")
    given = set(vars(parser.get_defaults()["model"]))
    assert given >= set(kind.option_types())
    for option in kind.fixed_options:
        assert option not in given
        with pytest.raises(TypeError, match=f"multiple values .*'{option}'"):
            kind(3, **{option: None})


def test_options_of_the_bases_are_options_of_a_method():
    own = option_types(FixMatch)
    assert list(own)[:4] == ["num_classes", "backbone", "conf_thresh", "unlabeled_weight"]
    assert set(option_types(SemiMethod)) - set(own) == set()
    assert own["conf_thresh"] is float
    assert set(own) - set(option_types(Supervised)) >= {"gate_by_tags", "evaluate", "ema_decay"}
    assert "loss" not in methods.SelfRegulation.option_types()


def test_options_of_a_base_that_are_not_handed_on_are_none():
    class Closed(Supervised):
        def __init__(self, num_classes: int, lr: float = 0.1) -> None:
            super().__init__(num_classes, "test_efficientnet")

    assert list(option_types(Closed)) == ["num_classes", "lr"]
    # A user's own value wins over the base's.
    assert Closed(3).hparams["lr"] == 0.1
    assert Closed(3, lr=0.2).hparams["lr"] == 0.2


@pytest.mark.parametrize("kind", [Supervised, FixMatch, methods.CAM])
def test_a_checkpoint_may_name_its_class_among_the_options(kind):
    # As an exported checkpoint does; `load_from_checkpoint` hands it on.
    name = f"wsss_zoo.{kind.__name__}"
    assert kind(3, "test_efficientnet", _class_path=name).hparams["_class_path"] == name
    assert "_class_path" not in kind(3, "test_efficientnet").hparams
    assert "_class_path" not in kind.option_types()


def test_types_that_cannot_be_resolved_are_any():
    class Own(Supervised):
        def __init__(self, num_classes: "Unknown", **shared) -> None:  # noqa: F821
            super().__init__(num_classes, **shared)

    assert "architecture" in option_types(Own)
    check_choices(option_types(Own), {"num_classes": "x"})
