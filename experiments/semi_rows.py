"""Train and measure the rows of the semi-supervised family on VOC photographs.

    python experiments/semi_rows.py OUT ROW ... --root DIR --weights FILE [--labels 55 28]

Each row is a configuration of ``experiments/voc_animals``. It continues from a warm start:
``Supervised``, 400 steps, trained first if it is missing. The results are written to
``OUT/l<labels>/<row>/seed<seed>``. Finished rows are skipped. All commands are printed.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

CONFIGS = Path(__file__).parent / "voc_animals"
# Row: its configuration, and the options that it changes.
ROWS: dict[str, tuple[str, list[str]]] = {
    "supervised": ("supervised", []),
    "all_masks": ("supervised", ["--data.labeled_split", "train"]),
    "fixmatch": ("fixmatch", []),
    "fixmatch_tags": ("fixmatch", ["--model.gate_by_tags", "true"]),
    "fixmatch_student": ("fixmatch", ["--model.labels_from", "student"]),
    "unimatch": ("unimatch", []),
    "unimatch_v2": ("unimatch_v2", []),
    "unimatch_tags": ("unimatch", ["--model.gate_by_tags", "true"]),
    "mean_teacher": ("mean_teacher", []),
    "cps": ("cps", ["--model.cutmix", "false", "--model.unlabeled_weight", "1.5"]),
    "cps_cutmix": ("cps", []),
    "cps_cutmix_weight_0.3": ("cps", ["--model.unlabeled_weight", "0.3"]),
    "pi_model": ("pi_model", []),
    "pi_model_both": (
        "pi_model",
        ["--model.detach_first", "false", "--model.unlabeled_weight", "100"],
    ),
    # It has to visit each image more than once.
    "temporal_ensembling": ("temporal_ensembling", ["--data.unlabeled_split", "null"]),
    "pseudoseg": ("pseudoseg", ["--model.use_tags", "false"]),
    "pseudoseg_tags": ("pseudoseg", []),
}


def main() -> None:
    """Run what is asked for and missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("rows", nargs="+", choices=["warm", *ROWS])
    parser.add_argument("--root", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[55])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="other than the configuration's, kept apart")
    args = parser.parse_args()
    for row in args.rows:
        for labels in args.labels:
            for seed in args.seeds:
                _row(args, row, labels, seed)


def _row(args: argparse.Namespace, row: str, labels: int, seed: int) -> Path:
    """Train and measure one row; return the path of its last checkpoint."""
    name = row if args.steps is None or row == "warm" else f"{row}_{args.steps}"
    folder = args.out / f"l{labels}" / name / f"seed{seed}"
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if (folder / "val_results.json").exists():
        return checkpoint
    if row == "warm":
        config, options = "supervised", ["--model.weights", args.weights, *_earlier(folder)]
    else:
        config, options = ROWS[row]
        warm = _row(args, "warm", labels, seed)
        # Crops differ from those of the warm start.
        fresh = ["--data.seed", str(seed + 1000)]
        options = ["--model.init_from", str(warm), *fresh, *options]
        if config == "cps":
            other = _row(args, "warm", labels, seed + 100)
            options = [*options, "--model.partner_init_from", str(other)]
        if args.steps is not None:
            options = [*options, "--trainer.max_steps", str(args.steps)]
    common = [
        *["--config", str(CONFIGS / f"{config}.yaml"), "--seed_everything", str(seed)],
        *["--data.root", args.root, "--data.labeled_split", f"labeled_{labels}"],
        *["--data.unlabeled_split", f"unlabeled_{labels}", "--data.check_masks", "false"],
        *["--trainer.default_root_dir", str(folder), "--trainer.enable_progress_bar", "false"],
    ]
    resume = ["--ckpt_path", str(checkpoint)] if checkpoint.exists() else []
    _call("fit", *common, *options, *resume)
    _call("validate", *common, "--trainer.precision", "32", "--ckpt_path", str(checkpoint))
    return checkpoint


def _earlier(folder: Path) -> list[str]:
    """Return options that keep the checkpoints after a third and two thirds, for ST++."""
    callback = "--trainer.callbacks"
    return [
        *[f"{callback}+=ModelCheckpoint", f"{callback}.dirpath", str(folder / "earlier")],
        *[f"{callback}.every_n_train_steps", "133", f"{callback}.save_top_k", "-1"],
        *[f"{callback}.save_weights_only", "true", f"{callback}.filename", "{step}"],
    ]


def _call(*arguments: str) -> None:
    command = [sys.executable, "-m", "wsss_zoo", *arguments]
    print(shlex.join(command), flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
