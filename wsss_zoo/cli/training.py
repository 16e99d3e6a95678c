"""The commands fit, validate, test and predict: LightningCLI without silent surprises."""

import logging
import os
import sys
import warnings
from argparse import HelpFormatter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger

# These imports make short names such as `--model CAM --data Shapes` known: there is no registry.
import wsss_zoo.data
import wsss_zoo.methods  # noqa: F401
from wsss_zoo import callbacks
from wsss_zoo.arguments.checks import (
    check_name,
    check_supervision,
    loaded_class,
    short_name,
    supervision_of,
)
from wsss_zoo.arguments.command_parser import OneLineErrors, class_help
from wsss_zoo.arguments.given import Setting, class_first, given_settings
from wsss_zoo.arguments.help_texts import order_groups, parser_texts, title_groups
from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.modules.evaluation import Evaluation
from wsss_zoo.runs import folder as run_folder
from wsss_zoo.runs.checkpoints.checkpoint import check_checkpoint_fits, read_checkpoint
from wsss_zoo.runs.checkpoints.last_checkpoint import LastCheckpoint
from wsss_zoo.runs.data import make_data
from wsss_zoo.runs.logger import LogConfig, RunLogger
from wsss_zoo.runs.wandb import prepare_wandb, wandb_run

log = logging.getLogger("wsss_zoo")

# Lightning 2.6 calls functions of jsonargparse that are deprecated but have no older substitute.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

SUBCOMMANDS = ("fit", "validate", "test", "predict")

# Lightning's advice that does not apply here.
_QUIET = (
    # More workers than cores slow a run down; num_workers is an option of the data module.
    r"The '\w+_dataloader' does not have many workers",
    # Small data sets have short epochs; metrics.csv still gets its rows.
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    # freeze_backbone_bn keeps BatchNorm layers in eval mode on purpose.
    r"Found \d+ module\(s\) in eval mode at the start of training",
    # The data layer itself starts at the right batch.
    r"You're resuming from a checkpoint that ended before the epoch ended",
    # Lightning 2.6 with torch >= 2.14.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)
_SWITCHES = {
    "channels_last": "Keep the network in channels-last memory order, for faster convolutions",
    "compile": "Compile the network for the steps of fit, by torch.compile",
}


def _no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()


class ZooParser(OneLineErrors, LightningArgumentParser):
    """LightningCLI's parser with errors of one line."""

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """Show the help, what is of this project first."""
        order_groups(self)
        return super().format_help(formatter)


class ZooCLI(LightningCLI):
    """Run any method on any data set, from arguments and config files.

    Differences from LightningCLI:

    * A config cannot delete the shipped callbacks.
    * ``supervision`` follows from the method, ``num_classes`` from the data; another value is an
      error.
    * A checkpoint never changes what the command line says.
    * Each run has one folder.

    Args:
        args: Arguments, the subcommand first; None for those of the process.
    """

    def __init__(self, args: list[str] | None = None) -> None:
        for message in _QUIET:
            warnings.filterwarnings("ignore", message=message)
        logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_advertisement)
        args = sys.argv[1:] if args is None else args
        # Making a parser takes longer than parsing: only the one asked for is made.
        asked = [name for name in SUBCOMMANDS if args[:1] == [name]]
        self._asked = asked or list(SUBCOMMANDS)
        headers = {
            name: {"dump_header": [run_folder.config_header(name)], **parser_texts(name)}
            for name in self._asked
        }
        super().__init__(
            BaseMethod,
            BaseDataModule,
            save_config_callback=LogConfig,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"log_every_n_steps": 10},
            seed_everything_default=0,
            parser_class=ZooParser,
            # Else a mistyped option may pass as the prefix of another one.
            parser_kwargs={"prog": "wsss-zoo", "allow_abbrev": False, **headers},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=args,
        )

    # Not static as in LightningCLI, which calls it on the instance.
    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """List the subcommand asked for, and the arguments of Trainer that users do not give."""
        own = {"weights_only", "verbose", "return_predictions"}
        return {name: LightningCLI.subcommands()[name] | own for name in self._asked}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the shipped callbacks, evaluation options and links between options."""
        # Class arguments, not items of trainer.callbacks: a user's list cannot delete them.
        parser.add_lightning_class_args(callbacks.SegmentationMetrics, "metrics")
        parser.add_lightning_class_args(callbacks.ClassificationMetrics, "classification_metrics")
        parser.add_lightning_class_args(callbacks.PretextMetrics, "pretext_metrics")
        parser.add_lightning_class_args(callbacks.NoiseDetector, "noise")
        # Before the pseudo-labels: an image that has one is done, and has its graph.
        parser.add_lightning_class_args(callbacks.GraphWriter, "graphs")
        parser.add_lightning_class_args(callbacks.PseudoLabelWriter, "labels")
        parser.add_lightning_class_args(callbacks.PredictionVisualizer, "visualizer")
        parser.add_lightning_class_args(callbacks.FiniteLoss, "finite_loss")
        parser.add_lightning_class_args(LastCheckpoint, "checkpoint")
        parser.add_class_arguments(Evaluation, "evaluation")
        for name, text in _SWITCHES.items():
            parser.add_argument(f"--{name}", type=bool, default=False, help=text)
        title_groups(parser)
        # Not on instantiation, as the other one: the two links would be a cycle.
        parser.link_arguments(
            "model.class_path", "data.init_args.supervision", compute_fn=supervision_of
        )
        parser.link_arguments(
            "data.num_classes", "model.init_args.num_classes", apply_on="instantiate"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and reject what LightningCLI would accept silently."""
        given = given_settings(args[1:])
        args = [args[0], *class_first(class_first(args[1:], "model"), "data")]
        # For help, or without its config file, nothing is missing yet.
        partial = {"config", "print_config", "help", "-h", "model.help", "data.help"} & set(given)
        try:
            if not partial:
                check_name("model", given.get("model"), BaseMethod)
                check_name("data", given.get("data"), BaseDataModule)
            if {"help", "-h"} & set(given) or "-h" in args:
                self._print_chosen(given)
            self.config = parser.parse_args(args)
            method = self.options.model.class_path
            check_supervision(given.get("data.supervision"), method)
            if "model.num_classes" in given:
                self._reject_num_classes(given["model.num_classes"])
            # Hidden from LightningCLI, which would take hyper-parameters from the checkpoint in
            # place of the user's; before_instantiate_classes puts the path back.
            self._ckpt_path = self.options.pop("ckpt_path") or self._requeued()
            self._checkpoint = read_checkpoint(self._ckpt_path, method) if self._ckpt_path else {}
        except ValueError as error:
            parser.error(str(error))

    def _print_chosen(self, given: Mapping[str, Setting]) -> None:
        """Print the help of the method and the data set that were named, before that of all."""
        for key, base in (("model", BaseMethod), ("data", BaseDataModule)):
            if key in given:
                check_name(key, given[key], base)
                kind = loaded_class(base, str(given[key].value))
                if kind is not None:
                    print(class_help(ZooParser, kind, key))

    @property
    def options(self) -> Namespace:
        """Configuration of the chosen subcommand."""
        options: Namespace = self.config[self.config.subcommand]
        return options

    @property
    def _folder(self) -> Path:
        return Path(self.options.trainer.default_root_dir or ".")

    def _requeued(self) -> str | None:
        folder = self.options.trainer.default_root_dir
        if self.config.subcommand != "fit" or folder is None or not SLURMEnvironment.detect():
            return None
        return run_folder.requeued_checkpoint(Path(folder))

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder; warn before a run is replaced."""
        options, subcommand = self.options, str(self.subcommand)
        options.ckpt_path = self._ckpt_path
        self._choose_labeled_share()
        if options.trainer.default_root_dir is None and not options.trainer.fast_dev_run:
            parent = Path("runs", short_name(options.model.class_path))
            claimed = run_folder.claim_run_folder(parent, options.trainer.num_nodes)
            options.trainer.default_root_dir = str(claimed)
        folder = self._folder
        self.save_config_kwargs["config_filename"] = run_folder.config_name(folder, subcommand)
        prepare_wandb(options.trainer.logger, folder)
        last = folder / run_folder.CHECKPOINT
        if not self._ckpt_path and subcommand == "fit" and last.exists():
            replaces = "%s holds a run, which this one replaces; to resume it give --ckpt_path %s"
            log.warning(replaces, folder, last)

    def _choose_labeled_share(self) -> None:
        """Let a generated data set choose which images are labelled, where the user does not."""
        data = self.options.data
        kind = loaded_class(BaseDataModule, data.class_path)
        share = getattr(kind, "semi_share", None)
        given = data.init_args
        chosen = given.get("labeled_split") is None and given.get("unlabeled_split") is None
        if share is not None and chosen and given.supervision == "semi":
            given.labeled_split = share
            text = "%s chooses a labelled share of %g; another: --data.labeled_split"
            log.warning(text, short_name(data.class_path), share)

    def instantiate_classes(self) -> None:
        """Instantiate; raise a constructor's own error in place of a list of types tried."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if isinstance(error.__cause__, ValueError | OSError):
                raise error.__cause__ from None
            raise

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, which writes ``metrics.csv`` whatever loggers the user gives."""
        asked = self.config_init[self.subcommand].trainer.logger
        loggers = asked if isinstance(asked, list) else [asked]
        first_step = self._checkpoint.get("global_step", 0) if self.subcommand == "fit" else None
        own = RunLogger(str(self._folder), first_step)
        others = [logger for logger in loggers if isinstance(logger, Logger)]
        return super().instantiate_trainer(logger=[own, *others], **kwargs)

    def after_instantiate_classes(self) -> None:
        """Set what no constructor takes; reject a checkpoint that does not fit."""
        trained = self._ckpt_path or self.options.model.init_args.get("init_from")
        has_weights = next(self.model.parameters(), None) is not None
        if str(self.subcommand) != "fit" and has_weights and not trained:
            log.warning(
                "%s without --ckpt_path runs a network that is not trained", self.subcommand
            )
        self.model.evaluation = self.config_init[self.subcommand].evaluation
        if self.options.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if self.options.compile:
            self.trainer.callbacks.insert(0, callbacks.CompiledTraining())  # type: ignore[attr-defined]
        if self._checkpoint:
            try:
                names = self.datamodule.class_names
                check_checkpoint_fits(str(self._ckpt_path), self._checkpoint, self.model, names)
            except ValueError as error:
                self.parser.error(str(error))
            # A mapped file cannot be replaced by the run's next checkpoint on every system.
            self._checkpoint = {}

    def fit(self, **kwargs: Any) -> None:
        """Train; checkpoints are loaded as data, never as code."""
        with self._in_wandb():
            self.trainer.fit(weights_only=True, **kwargs)

    def validate(self, **kwargs: Any) -> None:
        """Measure on the validation split."""
        with self._in_wandb():
            self.trainer.validate(weights_only=True, verbose=False, **kwargs)

    def test(self, **kwargs: Any) -> None:
        """Measure on the test split."""
        with self._in_wandb():
            self.trainer.test(weights_only=True, verbose=False, **kwargs)

    def predict(self, **kwargs: Any) -> None:
        """Write predictions without keeping all of them in memory, as Trainer's default does."""
        with self._in_wandb():
            self.trainer.predict(weights_only=True, return_predictions=False, **kwargs)

    def _in_wandb(self) -> AbstractContextManager[None]:
        subcommand = str(self.subcommand)
        return wandb_run(self.trainer.loggers, self.options, self._folder, subcommand)

    def _reject_num_classes(self, given: Setting) -> None:
        data = make_data(self.options.data.as_dict())
        raise ValueError(
            f"{given.source} {given.value}: the number of classes is taken from the data module "
            f"({data.num_classes} for {type(data).__name__}, the background included); remove it"
        )
