"""Usage, descriptions and group titles in ``--help`` of fit, validate, test and predict."""

from typing import Any

_USAGE = {
    "fit": "--model NAME --data NAME",
    "validate": "--config RUN/config.yaml --ckpt_path RUN/checkpoints/last.ckpt",
}
_DESCRIPTIONS = {
    "fit": "Train a method on a data set. --model.help CAM lists the options of a method, "
    "--data.help VOC2012 those of a data set. Each run has a folder, --trainer.default_root_dir. "
    "--ckpt_path FOLDER/checkpoints/last.ckpt resumes a stopped run.",
    "validate": "Measure a trained method on --data.val_split.",
    "test": "Measure a trained method on --data.test_split.",
    "predict": "Write pseudo-labels for the images of --data.predict_split; train on them with "
    "--data.pseudo_label_dir. Masks for any folder of images: wsss-zoo label.",
}
#: Titles of the groups of options.
GROUP_TITLES = {
    "trainer": "Lightning's Trainer",
    "model": "The method (names: wsss-zoo methods)",
    "data": "The data set",
    "metrics": "Metrics of segmenters",
    "classification_metrics": "Metrics of classifiers",
    "pretext_metrics": "Metrics of pretext tasks",
    "labels": "Pseudo-labels that predict writes",
    "noise": "Loss above which given labels count as noise, measured where masks are known",
    "graphs": "Region graphs that predict builds from images and given labels, for GATCorrector",
    "visualizer": "Pictures for the loggers",
    "finite_loss": "How often the training loss is checked for NaN",
    "checkpoint": "The checkpoint of a run, checkpoints/last.ckpt",
    "evaluation": "How segmenters are run on whole images",
}


def parser_texts(subcommand: str) -> dict[str, Any]:
    """Give usage and description of a subcommand, as arguments of its parser."""
    usage = f"wsss-zoo {subcommand} {_USAGE.get(subcommand, _USAGE['validate'])} [options]"
    return {"usage": usage, "description": _DESCRIPTIONS[subcommand]}


def title_groups(parser: Any) -> None:
    """Replace the titles of groups of options, which are the first lines of classes."""
    for name, group in parser.groups.items():
        group.title = GROUP_TITLES.get(name, group.title)


def order_groups(parser: Any) -> None:
    """Put the method and the data set first, Lightning's Trainer last, what runs share between."""
    order = [parser.groups[name] for name in ("model", "data") if name in parser.groups]
    last = [parser.groups[name] for name in ("trainer",) if name in parser.groups]
    groups = parser._action_groups  # argparse has no other way to order the groups of its help
    others = [group for group in groups if group not in [*order, *last]]
    parser._action_groups[:] = [*order, *others, *last]
