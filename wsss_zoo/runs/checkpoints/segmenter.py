"""Load a trained segmenter from its checkpoint alone."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import wsss_zoo.methods  # noqa: F401  (importing is what makes the methods known)
from wsss_zoo.arguments.checks import loaded_class, subclasses
from wsss_zoo.data.reading.class_files import read_class_file
from wsss_zoo.files.images.pixels import AS_STORED, PixelOptions, options_from_state
from wsss_zoo.methods.base import BaseMethod, without_start_weights
from wsss_zoo.runs.checkpoints.checkpoint import data_state, read_checkpoint


@dataclass(frozen=True)
class TrainedSegmenter:
    """A method with its weights, in eval mode, on the CPU."""

    method: BaseMethod
    #: Names by class index, (C,).
    class_names: list[str]
    #: Whether class 0 is background.
    background: bool
    #: Whether the names are known; otherwise they are numbers.
    names_known: bool
    #: Values and bands of images that were shown in training.
    pixels: PixelOptions = AS_STORED


def load_segmenter(
    path: str, classes: str | None = None, model: str | None = None
) -> TrainedSegmenter:
    """Load the segmenter of a checkpoint.

    Args:
        path: Checkpoint of a run.
        classes: Class list, see `read_class_file`, that replaces the names in the checkpoint.
        model: Name or import path of the method. A checkpoint that ``wsss-zoo fit`` did not save
            does not name it. A user's own method is imported only if it is given here.

    Raises:
        ValueError: If the file is no checkpoint of a segmenter, its method cannot be found or made,
            or the number of names is not that of the classes.
        OSError: If the class list cannot be read.
    """
    checkpoint = read_checkpoint(path, model)
    options = checkpoint.get("hyper_parameters", {})
    kind = _method_class(path, str(options.get("_class_path", "")) or None, model)
    purpose = "graphs" if kind.supervision == "graphs" else kind.output
    if purpose != "segmentation":
        raise ValueError(f"checkpoint {path} holds {kind.__name__}, which {_REMEDIES[purpose]}")
    method = _with_weights(path, kind, options, checkpoint["state_dict"])
    saved = data_state(checkpoint)
    count = int(options["num_classes"])
    names = _class_names(path, count, saved.get("class_names"), classes)
    shown = names or [f"class {index}" for index in range(count)]
    background = bool(saved.get("background", names is None or shown[0] == "background"))
    pixels = options_from_state(saved.get("pixels"))
    return TrainedSegmenter(method.eval(), shown, background, names is not None, pixels)


def load_method(path: str, model: str | None = None) -> BaseMethod:
    """Load the method of a checkpoint, of any purpose, in eval mode; see `load_segmenter`."""
    checkpoint = read_checkpoint(path, model)
    options = checkpoint.get("hyper_parameters", {})
    kind = _method_class(path, str(options.get("_class_path", "")) or None, model)
    return _with_weights(path, kind, options, checkpoint["state_dict"]).eval()


def _method_class(path: str, held: str | None, asked: str | None) -> type[BaseMethod]:
    known = ", ".join(subclasses(BaseMethod))
    class_path = asked if held is None or (asked and "." in asked) else held
    if class_path is None:
        raise ValueError(
            f"checkpoint {path} does not say which method it is of (those of 'wsss-zoo fit' do); "
            f"give it as model: {known}"
        )
    found = loaded_class(BaseMethod, class_path)
    if found is not None:
        return found
    if class_path != asked:
        raise ValueError(
            f"checkpoint {path} is of the method {class_path!r}, which is none of wsss_zoo's: "
            f"{known}; if it is your own, name it (--model {class_path}): no code is imported "
            "because a file asks for it"
        )
    try:
        kind = pkgutil.resolve_name(class_path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"model {class_path} cannot be imported ({error}); there are: {known}; for a class of "
            "your own set PYTHONPATH as for the training"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, BaseMethod)):
        raise ValueError(f"model {class_path} is no method of wsss_zoo; there are: {known}")
    return kind


def _with_weights(
    path: str, kind: type[BaseMethod], options: Mapping[str, Any], weights: Mapping[str, Any]
) -> BaseMethod:
    # A file from elsewhere must not make us read others, or download any.
    given = without_start_weights(options)
    try:
        method = kind(**{name: value for name, value in given.items() if not name.startswith("_")})
        method.load_state_dict(weights)
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"checkpoint {path} does not fit {kind.__name__} of this version: "
            f"{str(error).splitlines()[0]}; use the version of wsss_zoo that trained it"
        ) from error
    tensors = method.state_dict().values()
    broken = sum(not torch.isfinite(tensor).all() for tensor in tensors)
    if broken:
        raise ValueError(
            f"checkpoint {path}: {broken} of {len(tensors)} tensors are NaN or infinite: training "
            "diverged; use an earlier checkpoint, or train again with a lower model.lr"
        )
    return method


def _class_names(path: str, count: int, saved: Any, classes: str | None) -> list[str] | None:
    """Take the names from the user's class list, else from the checkpoint; else None."""
    if classes is not None:
        names = list(read_class_file(Path(classes)).names)
        if len(names) != count:
            raise ValueError(
                f"classes {classes} names {len(names)} classes, checkpoint {path} has {count}; "
                "name all, background included, in the order of training"
            )
        return names
    if saved is None:
        return None
    # They are printed, and written one per line.
    if len(saved) != count or not all(isinstance(n, str) and n.isprintable() for n in saved):
        raise ValueError(
            f"checkpoint {path} has {count} classes and as their names {saved!r}; give your own "
            "list as classes"
        )
    return list(saved)


_TRAIN_ON_LABELS = (
    "with 'wsss-zoo predict' and train one on them with 'wsss-zoo fit --model Supervised "
    "--data.pseudo_label_dir ..'"
)
# What other methods do, by purpose, and how to get a segmenter from them.
_REMEDIES = {
    "classification": "shows where tagged classes are and needs tags; a segmenter is needed: write "
    f"its pseudo-labels {_TRAIN_ON_LABELS}, or run both with 'wsss-zoo pipeline "
    "experiments/pipelines/cam_folder.yaml'",
    "graphs": "labels region graphs, not images; a segmenter is needed: write its pseudo-labels "
    f"{_TRAIN_ON_LABELS}",
    "pretext": "makes no label maps; a segmenter is needed: train one on its encoder with "
    "'wsss-zoo fit --model Supervised --model.weights ..'",
}
