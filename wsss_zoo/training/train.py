"""``wsss_zoo.train``: from a folder of images and labels to a segmenter."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from wsss_zoo.arguments.command_parser import run_command
from wsss_zoo.data import Folder
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.deploy.export import export_checkpoint
from wsss_zoo.deploy.label import label
from wsss_zoo.deploy.load import LoadedSegmenter, load
from wsss_zoo.files.atomic import read_json, write_atomic, write_json
from wsss_zoo.files.durations import parse_duration
from wsss_zoo.files.manifests import sha256_file
from wsss_zoo.files.outputs import check_output_folder
from wsss_zoo.pipeline.command import run_recipe
from wsss_zoo.report.command import write_report
from wsss_zoo.runs.folder import CHECKPOINT, DONE, RESULT
from wsss_zoo.training.estimate import estimate_lines
from wsss_zoo.training.held_out import (
    Counts,
    Score,
    best_score,
    compare_candidates,
    count_confusions,
    make_folds,
)
from wsss_zoo.training.out_of_memory import KILLED, out_of_memory_lines
from wsss_zoo.training.plan import Plan, make_plan, open_data, plan_from
from wsss_zoo.training.recipe import Content, only_for, with_split
from wsss_zoo.training.request import RECIPE, Request, choose_folder, recipe_digest
from wsss_zoo.training.settings import Quality

REPORT, MODEL = "report.html", "model.onnx"


class StepFailedError(RuntimeError):
    """A step of the recipe failed; it has said why. ``code`` is its exit code."""

    def __init__(self, code: int, remedy: str = "") -> None:
        said = f"a step of the recipe failed with exit code {code}; its message is above"
        super().__init__(f"{said}; {remedy}" if remedy else said)
        self.code, self.remedy = code, remedy


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Args:
        folder: Folder of everything.
        run: Folder of the run that trained the segmenter.
        scores: Candidates on held-out masks, the baseline first; () where no mask was held out.
        chosen: Name of the candidate that was chosen.
        lines: The result in words.
    """

    folder: Path
    run: Path
    scores: tuple[Score, ...]
    chosen: str
    lines: tuple[str, ...]

    @property
    def checkpoint(self) -> Path:
        """The segmenter's checkpoint."""
        return self.run / CHECKPOINT

    @property
    def masks(self) -> Path:
        """Masks of all images, ``<id>.png``."""
        return self.folder / "masks" / "masks"

    @property
    def report(self) -> Path:
        """The page with numbers, curves and pictures."""
        return self.folder / REPORT

    def load(self) -> LoadedSegmenter:
        """Load the segmenter."""
        return load(self.checkpoint)


def train(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    time: str | None = None,
    quality: Quality = "normal",
    weights: str | None = "imagenet",
    backbone: str | None = None,
    onnx: bool = False,
    data: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a segmenter on a folder of images with labels of any kind, as ``wsss-zoo train`` does.

    >>> trained = train("my_photos", time="2h")  # doctest: +SKIP
    >>> trained.load()("photo.jpg").save("mask.png")  # doctest: +SKIP

    Args:
        folder: The folder; for its layout see `Folder`.
        out: Folder for everything; default ``runs/NAME``.
        time: The longest it may take, as "2h" or "90min"; None for what the quality needs.
        quality: "draft", "normal" or "best".
        weights: "imagenet", a file, or None to train from nothing.
        backbone: Encoder of the network; None for one that fits quality and machine.
        onnx: Whether to write the network as ONNX, too.
        data: More options of `Folder`.
        trainer: More options of Lightning's Trainer.

    Raises:
        ValueError: If there is too little to learn from, too little time or memory, or ``out``
            holds something else.
        OSError: If a file is missing, or cannot be written.
        StepFailedError: If a training fails.
    """
    request = make_request(
        folder, time=time, quality=quality, weights=weights, backbone=backbone, data=data,
        trainer=trainer,
    )  # fmt: skip
    place, plan = find_plan(request, None if out is None else Path(out))
    print(plan.text(place))
    return run_plan(request, plan, place, onnx=onnx)


def make_request(
    folder: str | Path,
    *,
    time: str | None = None,
    quality: Quality = "normal",
    weights: str | None = "imagenet",
    backbone: str | None = None,
    data: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> Request:
    """Check the options of `train` and put them together."""
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; name the one with images/ in it")
    if weights not in ("imagenet", "none", None) and not Path(weights).is_file():
        raise FileNotFoundError(
            f"weights file {weights} does not exist; give a .safetensors or .pth file, imagenet or "
            "none"
        )
    return Request(
        root,
        quality,
        None if time is None else parse_duration(time),
        None if weights == "none" else weights,
        backbone,
        dict(data or {}),
        dict(trainer or {}),
    )


def find_plan(request: Request, out: Path | None) -> tuple[Path, Plan]:
    """Make the plan of a request, or read the one that its folder has."""
    state = request.state()
    place, known = choose_folder(out, state)
    check_output_folder(place)
    if not known:
        return place, make_plan(request, place, state)
    text = (place / RECIPE).read_text(encoding="utf-8")
    if recipe_digest(text) != known["recipe_sha256"]:
        print(f"{place / RECIPE} was changed by hand: it is run as it is")
    return place, plan_from(known)


def run_plan(request: Request, plan: Plan, out: Path, *, onnx: bool = False) -> Trained:
    """Train, choose, write masks and report; finished steps are skipped."""
    content = yaml.safe_load((out / RECIPE).read_text(encoding="utf-8"))
    candidates = [name for name in plan.choice.candidates if name in content["steps"]]
    if not candidates:
        raise ValueError(
            f"{out / RECIPE} has none of the steps {', '.join(plan.choice.candidates)}; keep one"
        )
    data = open_data(request)
    final: Content | None = None
    if plan.folds and len(candidates) > 1:
        confusions, final = _by_folds(content, candidates, data, plan.folds, out)
    else:
        confusions = _by_held_out(candidates, data, out)
    scores = compare_candidates(confusions) if confusions else []
    finished = candidates if final else _finished(out, candidates)
    wanted = plan.choice.unmeasured
    unmeasured = wanted if wanted in finished else finished[-1]
    chosen = best_score(scores).name if scores else unmeasured
    if final is not None:
        path, last = out / "final.yaml", only_for(final, [chosen])
        last["steps"][chosen].pop("optional", None)
        write_atomic(path, yaml.safe_dump(last, sort_keys=False))
        _run(path, out, out)
    run = out / chosen
    result = {"chosen": chosen, "scores": [asdict(score) for score in scores]}
    accelerator = str((content["common"].get("trainer") or {}).get("accelerator", "auto"))
    _write_masks(data.root / "images", run, out, result, accelerator)
    lines = _result_lines(scores, chosen, plan.folds if final else 0)
    known = [score.name for score in scores] or finished
    lines += [f"{name} failed, see above: left out" for name in candidates if name not in known]
    lines += out_of_memory_lines(out)
    if not scores:
        lines += estimate_lines(data, out / "masks" / "masks")
    if onnx:
        place = ["--format", "onnx", "--out", str(out / MODEL)]
        _command("export", export_checkpoint, [*_checkpoint(run), *place])
    write_json(out / RESULT, read_json(out / RESULT) | {"lines": lines})
    write_report(out, out / REPORT, "\n".join([*plan.lines, plan.choice.reason, *lines]))
    return Trained(out, run, tuple(scores), chosen, tuple(lines))


def _write_masks(
    images: Path, run: Path, out: Path, result: dict[str, Any], accelerator: str
) -> None:
    """Write masks of all images; replace those of another checkpoint of this training."""
    digest = sha256_file(run / CHECKPOINT)
    known = read_json(out / RESULT).get("checkpoint_sha256", digest)
    write_json(out / RESULT, result | {"checkpoint_sha256": digest})
    replaced = [] if known == digest else ["--overwrite", "true"]
    # Of several devices Lightning would start this process again for each.
    place = ["--out", str(out / "masks"), "--trainer.accelerator", accelerator]
    place += ["--trainer.devices", "1"]
    _command("label", label, [str(images), *_checkpoint(run), *place, *replaced])


def _by_held_out(candidates: Sequence[str], data: Folder, out: Path) -> dict[str, Counts]:
    """Train all candidates, and measure them on the held-out images."""
    _run(out / RECIPE, out, out)
    ids = [
        image_id
        for image_id in data.ids_of(data.val_split or "val")
        if image_id in data.files.masks
    ]
    if not ids:
        return {}
    return {name: _measure(out / name, data, ids) for name in _finished(out, candidates)}


def _by_folds(
    content: Content, candidates: Sequence[str], data: Folder, count: int, out: Path
) -> tuple[dict[str, Counts], Content]:
    """Measure each candidate on masks that its training did not see, fold by fold.

    Returns:
        Confusion matrices of all masks by candidate, and the recipe that trains on all masks.
    """
    split = content["common"]["data"]["init_args"].get("train_split", "train")
    masked = [*data.ids_of("masked"), *(i for i in data.ids_of("val") if i in data.files.masks)]
    usable = list(dict.fromkeys([*data.ids_of(split), *masked]))
    parts: dict[str, list[Counts]] = {name: [] for name in candidates}
    for number, held_out in enumerate(make_folds(masked, count), 1):
        root = out / f"fold{number}"
        left = set(held_out)
        lists = _write_lists(
            root,
            [i for i in usable if i not in left],
            [i for i in masked if i not in left],
            held_out,
        )
        recipe = with_split(only_for(content, candidates, pictures=False), *lists)
        write_atomic(root / RECIPE, yaml.safe_dump(recipe, sort_keys=False))
        print(f"fold {number} of {count}: {len(held_out)} of {len(masked)} masks are held out")
        _run(root / RECIPE, root, out)
        for name in _finished(root, candidates):
            parts[name].append(_measure(root / name, data, held_out))
    train, _, labeled = _write_lists(out, usable, masked, [])
    # A candidate that failed in a fold was not measured on all images.
    whole = {
        name: counts for name, counts in parts.items() if len(counts) == len(parts[candidates[0]])
    }
    joined = {name: np.concatenate(counts) for name, counts in whole.items()}
    return joined, with_split(content, train, None, labeled)


def _write_lists(
    root: Path, train: Sequence[str], labeled: Sequence[str], val: Sequence[str]
) -> tuple[str, str, str]:
    paths = [root / "lists" / f"{name}.txt" for name in ("train", "val", "labeled")]
    for path, ids in zip(paths, (train, val, labeled), strict=True):
        write_split(path, list(ids))
    return str(paths[0]), str(paths[1]), str(paths[2])


def _finished(root: Path, candidates: Sequence[str]) -> list[str]:
    """List the candidates whose training did not fail."""
    return [name for name in candidates if (root / name / DONE).exists()]


def _measure(run: Path, data: Folder, ids: Sequence[str]) -> Counts:
    return count_confusions(load(run / CHECKPOINT), data, ids)


def _run(recipe: Path, root: Path, out: Path) -> None:
    code = run_recipe(recipe, root=root)
    if code:
        raise StepFailedError(code, "; ".join(out_of_memory_lines(out, root, code == KILLED)))


def _checkpoint(run: Path) -> list[str]:
    return ["--ckpt_path", str(run / CHECKPOINT)]


def _command(name: str, function: Any, args: list[str]) -> None:
    print(shlex.join(["wsss-zoo", name, *args]))
    code = run_command(name, function, args)
    if code:
        raise StepFailedError(code)


def _result_lines(scores: Sequence[Score], chosen: str, folds: int) -> list[str]:
    if not scores:
        return [f"no mask is held out, so nothing is measured; {chosen} is taken"]
    best = next(score for score in scores if score.name == chosen)
    lines = [best.line()]
    others = [score for score in scores if score.name != chosen]
    if others and chosen != scores[0].name:
        lines.append(best.gain_line(scores[0].name))
    lines += [score.line() for score in others]
    if folds:
        lines.append(f"measured in {folds} folds; the model that is left learnt from all masks")
    elif others:
        lines.append(f"{chosen} was chosen on the same masks, so its number is a little too high")
    return lines
