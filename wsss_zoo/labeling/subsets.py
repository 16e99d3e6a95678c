"""Train a method on several lists of labelled images: folds, or parts of growing size."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from wsss_zoo.arguments.checks import loaded_class
from wsss_zoo.arguments.given import option_groups, option_key
from wsss_zoo.data import BaseDataModule
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.pipeline.command import run_recipe
from wsss_zoo.runs.folder import CHECKPOINT

# Settings of a run that its repetition on fewer labels has, too.
_KEPT = ("seed_everything", "channels_last", "compile")
# Named one by one: others may name a class, and no code is imported because a file asks for it.
_TRAINER = (
    "accelerator", "devices", "precision", "max_steps", "max_epochs", "accumulate_grad_batches",
    "gradient_clip_val", "limit_train_batches", "log_every_n_steps", "enable_progress_bar",
)  # fmt: skip
_DECIDED = ("data", "model", "data.train_split", "data.val_split", "data.labeled_split")
_GROUPS = ("data", "model", "trainer", *_KEPT)


def train_on_subsets(
    config: Mapping[str, Any],
    subsets: Mapping[str, Sequence[str]],
    data: BaseDataModule,
    out: Path,
    options: Sequence[str] = (),
) -> dict[str, Path]:
    """Train once for each list of images; what an earlier call finished is not repeated.

    It is a `pipeline`, whose recipe is ``OUT/recipe.yaml``. There is no validation. Weights that a
    run began with (``init_from``) have seen its labels: they are left out, those of the encoder
    (``weights``) are not.

    Args:
        config: Settings of a run: model, data, trainer.
        subsets: Names of the steps, and the images whose labels may be used.
        data: The data set.
        out: Folder to write.
        options: Further options of all steps, as typed.

    Returns:
        Checkpoint of each step.

    Raises:
        ValueError: If the method does not learn from masks or tags alone.
        RuntimeError: If a training failed.
    """
    check_repeatable(config)
    steps = {}
    for name, image_ids in subsets.items():
        path = out / "lists" / f"{name}-{_fingerprint(data, image_ids)}.txt"
        write_split(path, list(image_ids))
        steps[name] = {"command": "fit", **_settings(config, path.absolute())}
    recipe = out / "recipe.yaml"
    text = yaml.safe_dump({"steps": steps}, sort_keys=False)
    write_atomic(recipe, f"# Trainings on parts of the labels\n{text}")
    code = run_recipe(recipe, root=out / "runs", other_options=options)
    if code:
        raise RuntimeError(
            f"a training ended with exit code {code}; its message stands above, and the same "
            "command goes on from there"
        )
    return {name: out / "runs" / name / CHECKPOINT for name in subsets}


def check_options(options: Sequence[str]) -> None:
    """Refuse options that are neither of the command nor of its trainings."""
    for option, *_ in option_groups(options):
        key = option_key(option).replace("init_args.", "")
        if not option.startswith("--") or key.partition(".")[0] not in _GROUPS:
            raise ValueError(
                f"unrecognized argument {option}; options of the trainings begin with --data., "
                "--model. or --trainer."
            )
        if key in _DECIDED:
            raise ValueError(
                f"{option} cannot be given: data set, method and lists of the trainings follow "
                "from the run or the folder; leave it out"
            )


def check_repeatable(config: Mapping[str, Any]) -> None:
    """Refuse a run whose training on fewer labels would not be a list of images."""
    kind = supervision_of_run(config)
    options = config["data"].get("init_args") or {}
    if kind not in ("mask", "semi", "image_labels"):
        raise ValueError(
            f"{config['model'].get('class_path')} learns from {kind!r}, whose labels cannot be "
            "held out image by image; give a run of a method that learns from masks, or the folder "
            "of the data set"
        )
    if options.get("pseudo_label_dir"):
        raise ValueError(
            f"the run learned from pseudo-labels in {options['pseudo_label_dir']}, which are made "
            "from labels of other images; give a run on masks, or the folder of the data set"
        )


def supervision_of_run(config: Mapping[str, Any]) -> str:
    """Look up what the method of a run learns from; ValueError if it is none of wsss_zoo's."""
    class_path = str((config.get("model") or {}).get("class_path"))
    kind = loaded_class(BaseMethod, class_path)
    if kind is None:
        raise ValueError(
            f"{class_path!r} is no method of wsss_zoo, and nothing is imported because the file of "
            "a run names it; give the folder of the data set"
        )
    return str(kind.supervision)


def _settings(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    model, data = config["model"], config["data"]
    given = {k: v for k, v in (data.get("init_args") or {}).items() if k != "supervision"}
    lists = {"train_split": str(path), "labeled_split": None}
    if supervision_of_run(config) == "semi":
        lists = {"labeled_split": str(path)}
    given |= lists | {"val_split": None, "allow_overlap": True}
    arguments = model.get("init_args") or {}
    kept = {
        k: v for k, v in arguments.items() if k != "num_classes" and not k.endswith("init_from")
    }
    given_trainer = config.get("trainer") or {}
    trainer = {k: given_trainer[k] for k in _TRAINER if given_trainer.get(k) is not None}
    settings = {k: config[k] for k in _KEPT if config.get(k) is not None}
    settings["model"] = {"class_path": model["class_path"], "init_args": kept}
    settings["data"] = {"class_path": data["class_path"], "init_args": given}
    return settings | {"trainer": trainer | {"num_sanity_val_steps": 0}}


def _fingerprint(data: BaseDataModule, image_ids: Sequence[str]) -> str:
    """Hash the list and the state of its mask files: after a correction it is another training."""
    digest = hashlib.sha256("\n".join(image_ids).encode())
    if isinstance(data.source, ImageFiles):
        for image_id in image_ids:
            path = data.source.masks.get(image_id)
            state = Path(path).stat() if path else None
            digest.update(f"{state and (state.st_mtime_ns, state.st_size)}".encode())
    tags = data.read_tags(image_ids) if not data.tags_show_masks else {}
    digest.update(repr(sorted(tags.items())).encode())
    return digest.hexdigest()[:12]
