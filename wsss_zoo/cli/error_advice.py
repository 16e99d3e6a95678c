"""Remedies for errors that come from torch and the system, not from the package."""

import errno
import re
import traceback

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# torch.save says only that when a disk is full.
_TORCH_WRITE = re.compile(r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+")
_MEMORY = re.compile(
    r"out of memory|can't allocate memory|Unable to allocate|ALLOC_FAILED", re.IGNORECASE
)
_WORKER = re.compile(r"DataLoader worker \(pid")
_WORKER_REMEDY = (
    "a loader process has ended, most often because memory or /dev/shm was full: lower "
    "data.num_workers or data.batch_size; data.num_workers 0 loads in the main process and shows "
    "the error itself"
)
_TRAINING_MEMORY = (
    "lower data.batch_size (trainer.accumulate_grad_batches keeps the images of a step) or "
    "data.crop_size, set trainer.precision bf16-mixed, take model.output_stride 16 or a smaller "
    "model.backbone; MaskFormer and SimFormer: fewer model.queries or model.decoder_layers, "
    "SimFormer also model.pair_points; if it is in a validation, set evaluation.window 513"
)
_IMAGE_MEMORY = (
    "whole images are run: set evaluation.window 513 and fewer evaluation.scales, CAM and "
    "CoAttention: fewer or smaller model.scales; set trainer.precision bf16-mixed"
)
_LOOP_MEMORY = (
    "whole images are run: close other programs, or make the largest images smaller, and repeat "
    "the command, which keeps what is finished"
)
_ONE_VALUE = re.compile(r"Expected more than 1 (value per channel|spatial element)")
_LARGER = "raise data.crop_size, or data.batch_size and data.unlabeled_batch_size to at least 2"
_SMALLER = "take a network with a smaller backbone"


def advice(error: BaseException, command: str) -> str | None:
    """Word problem and remedy of an error that a setting or free disk space avoids; else None.

    >>> advice(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "fit")[:43]
    'DataLoader worker (pid 7) is killed by sign'
    >>> advice(RuntimeError("shapes differ"), "fit")
    """
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"{said}; free space on that disk; finished files stay"
    if isinstance(error, ConnectionError | EOFError) and _comes_from_loader(error):
        return f"DataLoader worker ended while it handed over a batch ({said}); {_WORKER_REMEDY}"
    if isinstance(error, ValueError) and _ONE_VALUE.search(said):
        return f"BatchNorm has a single value per channel ({said}); {_LARGER}"
    if not isinstance(error, RuntimeError | MemoryError):
        return None
    if _TORCH_WRITE.search(said):
        return f"a file could not be written ({said}); free space on its disk"
    # Before memory: a worker that ran out of it is killed silently.
    if _WORKER.search(said):
        return f"{said.rstrip('. ')}; {_WORKER_REMEDY}"
    if is_out_of_memory(error):
        remedies = {"fit": _TRAINING_MEMORY, "export": _SMALLER}
        remedies["label"] = f"lower --max_pixels and --tile, or {_SMALLER}"
        remedies |= dict.fromkeys(("train", "next", "audit"), _LOOP_MEMORY)
        return f"out of memory ({said.rstrip('. ')}); {remedies.get(command, _IMAGE_MEMORY)}"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory of the machine or of a GPU was too small.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    return isinstance(error, MemoryError) or _MEMORY.search(str(error)) is not None


def _comes_from_loader(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename.endswith("dataloader.py") for frame in frames)
