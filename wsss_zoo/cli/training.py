"""The commands fit, validate, test and predict: LightningCLI without silent surprises."""

import json
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
import yaml
from jsonargparse import Namespace
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger

# This import and that of the data modules make short names such as `--model CAM --data Shapes`
# known: there is no registry.
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
from wsss_zoo.arguments.given import (
    Setting,
    class_first,
    given_settings,
    option_groups,
    option_key,
)
from wsss_zoo.arguments.help_texts import order_groups, parser_texts, title_groups
from wsss_zoo.cli.error_advice import is_out_of_memory
from wsss_zoo.data import BaseDataModule
from wsss_zoo.files.atomic import write_json
from wsss_zoo.files.images.pixels import options_from_state
from wsss_zoo.files.outputs import check_output_folder
from wsss_zoo.methods.base import BaseMethod, is_start_weights
from wsss_zoo.modules.evaluation import Evaluation
from wsss_zoo.recipes.shipped import with_shipped_configs
from wsss_zoo.runs import folder as run_folder
from wsss_zoo.runs.checkpoints.checkpoint import (
    check_checkpoint_fits,
    check_resumable,
    data_state,
    read_checkpoint,
)
from wsss_zoo.runs.checkpoints.last_checkpoint import LastCheckpoint
from wsss_zoo.runs.data import make_data
from wsss_zoo.runs.logger import LogConfig, RunLogger
from wsss_zoo.runs.next_steps import next_steps
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
    # The summary is off unless a user asks for it.
    r"Precision .* is not supported by the model summary",
    # Lightning 2.6 with torch >= 2.14.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)
_SWITCHES = {
    "channels_last": "Keep the network in channels-last memory order, for faster convolutions",
    "compile": "Compile the network for the steps of fit, by torch.compile",
}


# What Lightning says before every run: of the machine, and of the checkpoint that was named.
_NOISE = (
    "Tip: For seamless",
    "GPU available: False",
    "TPU available: False",
    "HPU available: False",
    "LOCAL_RANK: 0",
    "Seed set to",
    "Loading `train_dataloader` to estimate",
    "`Trainer(val_check_interval=1.0)` was configured",
    "Restoring states from the checkpoint",
    "Loaded model weights from the checkpoint",
)


def _no_noise(record: logging.LogRecord) -> bool:
    return not any(words in record.getMessage() for words in _NOISE)


def _validates_as_asked(setting: Setting | None) -> bool:
    """Tell whether a user asks for validation after epochs; a saved configuration is no user."""
    if setting is None:
        return False
    if setting.source.startswith("--"):
        return True
    path = Path(setting.source.partition(":")[0])
    return not any(run_folder.is_config_of(path, name) for name in SUBCOMMANDS)


def _check_config_file(path: Path) -> None:
    """Refuse a folder, and a file that is no text, in words that name it."""
    if path.is_dir():
        own = path / run_folder.CONFIG
        remedy = f"give its file, --config {own}" if own.exists() else f"it has no {own.name}"
        raise ValueError(f"--config {path} is a folder; {remedy}")
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"--config {path} is no text file; give one of YAML") from error


def _without_fixed_options(args: list[str]) -> list[str]:
    """Hand on the configurations of earlier runs without the options that no longer do anything.

    An earlier version saved options that their method has fixed; nobody had to have given them.
    """
    handed = []
    for group in option_groups(args):
        path = Path(group[-1].removeprefix("--config="))
        is_saved = option_key(group[0]) == "config" and any(
            run_folder.is_config_of(path, name) for name in SUBCOMMANDS
        )
        text = _with_own_options(path) if is_saved else None
        handed += group if text is None else ["--config", text]
    return handed


def _with_own_options(path: Path) -> str | None:
    """Return a configuration without its method's fixed options; None if it has none of them."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        model = content["model"]
        options = model["init_args"]
        kind = loaded_class(BaseMethod, model["class_path"])
        fixed = [name for name in getattr(kind, "fixed_options", ()) if name in options]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None  # the parser says what is wrong with it
    for name in fixed:
        del options[name]
    return json.dumps(content) if fixed else None


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
        for place in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed"):
            logging.getLogger(place).addFilter(_no_noise)
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
            trainer_defaults={"log_every_n_steps": 10, "enable_model_summary": False},
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
        try:
            args = [args[0], *with_shipped_configs(args[1:])] if args else args
        except FileNotFoundError as error:
            parser.error(str(error))
        given = given_settings(args[1:])
        self._configs = [g[-1].removeprefix("--config=") for g in option_groups(args[1:])
                         if option_key(g[0]) == "config"]  # fmt: skip
        args = [args[0], *class_first(class_first(args[1:], "model"), "data")]
        # For help, or without its config file, nothing is missing yet.
        partial = {"config", "print_config", "help", "-h", "model.help", "data.help"} & set(given)
        try:
            for path in filter(Path.exists, map(Path, self._configs)):
                _check_config_file(path)
            if not partial:
                check_name("model", given.get("model"), BaseMethod)
                check_name("data", given.get("data"), BaseDataModule)
            if {"help", "-h"} & set(given) or "-h" in args:
                self._print_chosen(given)
            self.config = parser.parse_args([args[0], *_without_fixed_options(args[1:])])
            trainer = self.options.trainer
            if _validates_as_asked(given.get("trainer.check_val_every_n_epoch")):
                # Lightning's default, written out: no other is chosen, and config.yaml has it.
                trainer.val_check_interval = trainer.val_check_interval or 1.0
            method = self.options.model.class_path
            check_supervision(given.get("data.supervision"), method)
            if "model.num_classes" in given:
                self._reject_num_classes(given["model.num_classes"])
            # Hidden from LightningCLI, which would take hyper-parameters from the checkpoint in
            # place of the user's; before_instantiate_classes puts the path back.
            self._ckpt_path = self.options.pop("ckpt_path") or self._found_checkpoint(given)
            self._checkpoint = read_checkpoint(self._ckpt_path, method) if self._ckpt_path else {}
            self._first_step = self._checkpoint.get("global_step")
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

    def _found_checkpoint(self, given: Mapping[str, Setting]) -> str | None:
        """Find the checkpoint of a requeued fit, or of the run that is to be evaluated."""
        asked = self.options.trainer.default_root_dir
        folder = None if asked is None else Path(asked)
        if self.config.subcommand == "fit":
            requeued = folder is not None and SLURMEnvironment.detect()
            return run_folder.requeued_checkpoint(self._folder) if requeued else None
        # Typed, and not what the run began with, as in its configuration.
        started = given.get("model.init_from")
        if started is not None and started.source.startswith("--"):
            return None
        found = run_folder.own_checkpoint(self._configs, folder)
        if found is not None:
            log.info("%s uses the checkpoint of the run, %s", self.config.subcommand, found)
        return None if found is None else str(found)

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder; warn before a run is replaced."""
        options, subcommand = self.options, str(self.subcommand)
        options.ckpt_path = self._ckpt_path
        arguments = options.model.init_args
        if self._ckpt_path and subcommand != "fit":
            # The checkpoint has all weights; those that the run began with may be gone.
            for name in filter(is_start_weights, list(vars(arguments))):
                arguments[name] = None
        elif arguments.get("init_from") and arguments.get("weights"):
            # Nothing is downloaded that is not used, and no configuration records it.
            text = "model.weights %s is left out: model.init_from has the whole network"
            log.info(text, arguments.weights)
            arguments.weights = None
        own = options.trainer.default_root_dir
        check_output_folder(
            Path(own or Path("runs", short_name(options.model.class_path))),
            ["checkpoints", "pictures"],
            [run_folder.METRICS, run_folder.CONFIG],
        )
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
        lists = ("labeled_split", "unlabeled_split", "pseudo_label_dir")
        chosen = all(given.get(name) is None for name in lists)
        if share is not None and chosen and given.supervision == "semi":
            given.labeled_split = share
            text = "%s chooses a labelled share of %g; another: --data.labeled_split"
            log.warning(text, short_name(data.class_path), share)

    def instantiate_classes(self) -> None:
        """Instantiate; raise a constructor's own error in place of a list of types tried."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if isinstance(error.__cause__, ValueError | OSError | RuntimeError | ImportError):
                raise error.__cause__ from None
            raise

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, which writes ``metrics.csv`` whatever loggers the user gives."""
        asked = self.config_init[self.subcommand].trainer.logger
        loggers = asked if isinstance(asked, list) else [asked]
        first_step = self._checkpoint.get("global_step", 0) if self.subcommand == "fit" else None
        own = RunLogger(str(self._folder), first_step)
        others = [logger for logger in loggers if isinstance(logger, Logger)]
        kwargs["callbacks"] = self._callbacks()
        return super().instantiate_trainer(logger=[own, *others], **kwargs)

    def _callbacks(self) -> list[Callback]:
        """List the callbacks that the user asks for, and those that follow from the options."""
        options = self.config_init[self.subcommand].trainer
        asked = options.callbacks or []
        given: list[Callback] = asked if isinstance(asked, list) else [asked]
        own: list[Callback] = []
        wants_bar = options.enable_progress_bar is not False and not options.barebones
        if wants_bar and not any(isinstance(each, ProgressBar) for each in given):
            own.append(callbacks.RunProgress())
        if self.subcommand == "fit":
            by_epochs = options.check_val_every_n_epoch == 1 and options.val_check_interval is None
            own += [callbacks.ValidationInterval()] if by_epochs else []
            own += [callbacks.RunSummary(), callbacks.KeptClasses()]
        return [*own, *given]

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
                path, data = str(self._ckpt_path), self.datamodule
                # Before the setup, which checks the images.
                data.adopt_pixels(options_from_state(data_state(self._checkpoint).get("pixels")))
                classes = data.class_names, data.background
                check_checkpoint_fits(path, self._checkpoint, self.model, *classes)
                if str(self.subcommand) == "fit":
                    check_resumable(path, self._checkpoint, self.model)
            except ValueError as error:
                self.parser.error(str(error))
            # A mapped file cannot be replaced by the run's next checkpoint on every system.
            self._checkpoint = {}

    def fit(self, **kwargs: Any) -> None:
        """Train; checkpoints are loaded as data, never as code."""
        lacked = self._folder / run_folder.OUT_OF_MEMORY
        lacked.unlink(missing_ok=True)
        try:
            with self._in_wandb():
                self.trainer.fit(weights_only=True, **kwargs)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                write_json(lacked, {"error": str(error)})
            raise
        if not self.trainer.is_global_zero or getattr(self.trainer, "fast_dev_run", False):
            return
        if self.trainer.global_step == self._first_step:
            log.warning(
                "%s is of step %d, which is the end of the training: nothing was trained; raise "
                "trainer.max_steps or trainer.max_epochs",
                self._ckpt_path,
                self._first_step,
            )
        elif (self._folder / run_folder.CHECKPOINT).exists() and run_folder.STEP not in os.environ:
            log.info(next_steps(self._folder, self.model.output, self.model.supervision))

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
