"""What ``--help`` of fit, validate, test and predict says besides the options' own texts."""

from typing import Any

_USAGE = {
    "fit": "--model NAME --data NAME",
    "validate": "--config RUN/config.yaml --ckpt_path RUN/checkpoints/last.ckpt",
}
_DESCRIPTIONS = {
    "fit": "Train a method on a data set. --model.help CAM lists the options of a method, "
    "--data.help VOC2012 those of a data set. Each run has a folder, --trainer.default_root_dir; "
    "with --ckpt_path FOLDER/checkpoints/last.ckpt a run that was stopped goes on.",
    "validate": "Measure a trained method on --data.val_split.",
    "test": "Measure a trained method on --data.test_split.",
    "predict": "Write label maps of the images of --data.predict_split, as they are read by "
    "--data.pseudo_label_dir. Masks for any folder of images: wsss-zoo label.",
}
#: Titles of the groups of options, by their first part.
GROUP_TITLES = {
    "trainer": "Lightning's Trainer",
    "model": "The method (names: wsss-zoo methods)",
    "data": "The data set",
    "metrics": "Measures of segmenters",
    "classification_metrics": "Measures of classifiers",
    "pretext_metrics": "Measures of pretext tasks",
    "labels": "Label maps that predict writes",
    "noise": "The loss above which given labels count as noise, measured where masks are known",
    "graphs": "Region graphs that predict builds of images and given labels, for GATCorrector",
    "visualizer": "Pictures for the loggers",
    "finite_loss": "How often the training loss is looked at for NaN",
    "checkpoint": "The checkpoint of a run, checkpoints/last.ckpt",
    "evaluation": "How segmenters are run on whole images",
}


def parser_texts(subcommand: str) -> dict[str, Any]:
    """Usage and description of a subcommand, as arguments of its parser."""
    usage = _USAGE.get(subcommand, _USAGE["validate"])
    return {
        "usage": f"wsss-zoo {subcommand} {usage} [options]",
        "description": _DESCRIPTIONS[subcommand],
    }


def title_groups(parser: Any) -> None:
    """Give the groups of options a title in place of a class's first line."""
    for name, group in parser.groups.items():
        group.title = GROUP_TITLES.get(name, group.title)
