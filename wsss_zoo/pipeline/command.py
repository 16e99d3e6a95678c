"""``wsss-zoo pipeline``: run each step of a recipe once, in order."""

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.files.atomic import read_json, write_atomic, write_json
from wsss_zoo.files.outputs import check_output_folder
from wsss_zoo.pipeline.linked_runs import link_finished_runs
from wsss_zoo.pipeline.recipe import LABELS, WRITERS, Recipe, Step, fill, read_recipe
from wsss_zoo.pipeline.time_left import time_left
from wsss_zoo.recipes.shipped import find_recipe
from wsss_zoo.runs.folder import CHECKPOINT, DONE, METRICS, STARTED, STEP
from wsss_zoo.version import __version__

console = Console(highlight=False, soft_wrap=True)

# Exit codes from here on are those of signals.
_INTERRUPTED = 128
# What a finished step leaves for others, as far as it has it; its last file stands for a folder of
# label maps, graphs, other maps or sparse labels.
_OUTPUTS = (
    "checkpoints/*.ckpt", "pseudo_labels/manifest.json", "graphs/manifest.json",
    *sorted({"/".join(place) for place in WRITERS.values()}), f"{LABELS}/*.csv",
    "noise/threshold.json", "*labeled_split.txt", "*_results.json", "reliab*", "unreliable.txt",
)  # fmt: skip


def run_recipe(
    recipe: Path,
    *,
    root: Path | None = None,
    use: tuple[str, ...] = (),
    other_options: Sequence[str] = (),
) -> int:
    """Run the steps of a recipe, each in its own folder.

    Each step is a command; steps exchange files. Run again, it skips finished steps whose settings
    and inputs are unchanged, and resumes the one that was interrupted.

    Further options are options of the steps, those of their commands: for all steps
    (--data VOC2012 --data.root DIR --trainer.max_steps 100) or, after the name of a step, for one
    (--cam.trainer.max_steps 100).

    Args:
        recipe: YAML file, or the name of one that wsss-zoo recipes lists.
        root: Folder of the steps' folders; default runs/pipelines/RECIPE.
        use: STEP=FOLDER: take the finished run in FOLDER in place of running the step (it is
            linked, never written to); may be given several times.
        other_options: Options of the steps, as typed.

    Returns:
        0, or the exit code of the step that failed.
    """
    with usage_errors():
        steps = read_recipe(find_recipe(str(recipe), "pipeline"), other_options)
    root = root or Path("runs", "pipelines", steps.name)
    check_output_folder(root)
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root) as lock:
        with usage_errors():
            changed = link_finished_runs(steps, root, use, console)
        return _run(steps, root, lock, changed)


def _run(recipe: Recipe, root: Path, lock: int, changed: bool) -> int:
    ran = int(changed)
    for number, step in enumerate(recipe.steps, 1):
        title = f"step {number}/{len(recipe.steps)} {step.name}"
        if (root / step.name).is_symlink():
            taken = escape(str((root / step.name).resolve()))
            console.print(f"[bold]{title}[/]: taken from {taken}")
            continue
        fingerprint = _fingerprint(step, root)
        if _is_done(root / step.name, fingerprint):
            console.print(f"[bold]{title}[/]: finished, nothing to do")
            continue
        ran += 1
        console.rule(f"[bold]{title}", align="left")
        code = _run_step(recipe, step, root, fingerprint, lock)
        if code >= _INTERRUPTED or (code != 0 and not step.optional):
            return code
        if number < len(recipe.steps):
            console.print(f"{title} is done; {time_left(recipe.steps, number, root)}", markup=False)
    if not ran and (root / "summary.json").exists():
        console.print("all steps are finished and nothing has changed: nothing was run")
    # Only now, because drawing needs torch and reading a summary does not.
    from wsss_zoo.pipeline.summary import report

    report(recipe, root, console, changed=bool(ran))
    return 0


def _run_step(recipe: Recipe, step: Step, root: Path, fingerprint: str, lock: int) -> int:
    folder = root / step.name
    resumed = _begin_folder(folder, fingerprint)
    text = yaml.safe_dump(step.resolved(root), sort_keys=False)
    title = f"# {recipe.name}, step {step.name}: wsss-zoo {step.command}"
    write_atomic(folder / "step.yaml", f"{title}\n{text}")
    command = [step.command, "--config", str(folder / "step.yaml"), *_place(step, folder)]
    command += step.overrides
    if step.command == "fit" and (folder / CHECKPOINT).exists():
        command += ["--ckpt_path", str(folder / CHECKPOINT)]
    printed = shlex.join(["wsss-zoo", *command])
    if resumed:
        console.print("resuming the interrupted step")
    if resumed and step.command != "fit":
        # It measures again and would repeat its row.
        (folder / METRICS).unlink(missing_ok=True)
    console.print(printed, markup=False)
    start = time.monotonic()
    code = _call([sys.executable, "-m", "wsss_zoo", *command], recipe, step, lock)
    if code == 0:
        done = {"fingerprint": fingerprint, "outputs": _outputs(folder), "resumed": resumed}
        write_json(folder / DONE, done | {"seconds": round(time.monotonic() - start, 1)})
    elif step.optional and code < _INTERRUPTED:
        console.print(f"step {step.name} failed; it is optional, so the recipe continues")
    else:
        print(
            f"wsss-zoo pipeline: step {step.name} failed with exit code {code}; repeat the "
            f"pipeline command to resume it, or run the step by hand:\n{printed}",
            file=sys.stderr,
        )
    return code


def _place(step: Step, folder: Path) -> list[str]:
    """Word the option that names the folder of a step."""
    if step.writes_files:
        return ["--out", str(folder / WRITERS[step.command][0])]
    return ["--out_dir" if step.ranks else "--trainer.default_root_dir", str(folder)]


def _begin_folder(folder: Path, fingerprint: str) -> bool:
    """Make a step's folder; tell whether it holds unfinished work of the same settings."""
    started = read_json(folder / STARTED)
    if started.get("fingerprint") == fingerprint and not (folder / DONE).exists():
        return True
    if folder.exists() and any(folder.iterdir()):
        if not started:
            raise ValueError(
                f"{folder} is not empty and no pipeline made it; move it or choose another --root"
            )
        changed = f"settings or inputs have changed: emptying {folder} and starting again"
        console.print(changed, markup=False)
        # In case of a kill: the mark that it is finished goes first, the one that it is ours stays.
        (folder / DONE).unlink(missing_ok=True)
        for path in folder.iterdir():
            if path.name != STARTED:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(exist_ok=True)
    write_json(folder / STARTED, {"fingerprint": fingerprint})
    return False


def _is_done(folder: Path, fingerprint: str) -> bool:
    done = read_json(folder / DONE)
    if done.get("fingerprint") != fingerprint:
        return False
    now = _outputs(folder)
    return all(now.get(name) == value for name, value in done["outputs"].items())


def _outputs(folder: Path) -> dict[str, str | int | None]:
    """Hash the files that a step leaves for others; count its label maps and graphs."""
    found: dict[str, str | int | None] = {
        path.relative_to(folder).as_posix(): _hash_file(path)
        for pattern in _OUTPUTS
        for path in sorted(folder.glob(pattern))
    }
    counts = {
        "label maps": sum(1 for _ in (folder / "pseudo_labels").rglob("*.png")),
        "graphs": sum(1 for _ in (folder / "graphs").rglob("*.npz")),
    }
    for name in {name for name, _ in WRITERS.values() if (folder / name).is_dir()}:
        counts[name] = sum(1 for _ in (folder / name).rglob("*.png"))
    return found | counts


def _fingerprint(step: Step, root: Path) -> str:
    """Hash a step's settings and the content of what it reads from other steps."""
    paths = {text: Path(fill(text, root)) for text in step.inputs()}
    inputs = {text: _hash_input(path) for text, path in paths.items()}
    content = [__version__, step.command, step.settings, step.overrides, inputs]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _hash_input(path: Path) -> str | None:
    """Hash a file; of a folder the file that stands for all in it."""
    if not path.is_dir():
        return _hash_file(path)
    last = sorted({name for _, name in WRITERS.values() if (path / name).is_file()})
    return _hash_file(path / last[0]) if last else None


def _hash_file(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _call(command: list[str], recipe: Recipe, step: Step, lock: int) -> int:
    """Run a command and return its exit code; pass on the signals that ask this process to end.

    After such a signal the code is never 0, even if the command has come to its end.
    """
    environment = {"WANDB_RUN_GROUP": recipe.name, "WANDB_JOB_TYPE": step.name, **os.environ}
    environment[STEP] = step.name
    # The step holds the lock too: if only this process is killed, nobody else starts the step again
    # while it still runs.
    child = subprocess.Popen(command, env=environment, pass_fds=[lock] if lock >= 0 else [])

    received: list[int] = []

    def forward(signum: int, frame: Any) -> None:
        received.append(signum)
        child.send_signal(signum)

    previous = {n: signal.signal(n, forward) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if received:
        return 128 + received[0]
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[int]:
    """Wait until nobody else runs steps in this folder; yield the lock, -1 where there is none."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield -1
        return
    with (root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting = f"waiting: another pipeline, or a step that it began, still runs in {root}"
            console.print(waiting, markup=False)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
