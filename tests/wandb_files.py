"""Reads what wandb writes when it is offline, as `wandb sync` would send it."""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK = 32768
_FILE_HEADER, _CHUNK_HEADER = 7, 7
_FULL, _LAST = 1, 4


@dataclass
class OfflineRun:
    """One offline run."""

    folder: Path
    id: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None

    def logged(self, key: str) -> list[Any]:
        """All values of one key, in order."""
        return [row[key] for row in self.history if key in row]

    def names(self) -> set[str]:
        """Everything that was logged."""
        return {key for row in self.history for key in row}


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Runs in a run's folder, oldest first; the last one must have ended, or is about to."""
    paths = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=_begun)
    deadline = time.monotonic() + 60
    # wandb's own process writes the file, and `finish` does not wait for it.
    while paths and _read(paths[-1]).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return [_read(path) for path in paths]


def _begun(path: Path) -> str:
    """First line of the log, which begins with the time in milliseconds."""
    return (path.parent / "logs" / "debug.log").read_text()[:23]


def _read(path: Path) -> OfflineRun:
    run = OfflineRun(path.parent)
    for data in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.group, run.job_type = (
                record.run.run_id,
                record.run.run_group,
                record.run.job_type,
            )
            run.name, run.project = record.run.display_name, record.run.project
            run.tags = list(record.run.tags)
            _update(run.config, record.run.config)
        elif kind == "config":
            _update(run.config, record.config)
        elif kind == "history":
            items = record.history.item
            run.history.append(
                {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in items
                }
            )
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _update(config: dict[str, Any], record: Any) -> None:
    for item in record.update:
        config[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)


def _records(content: bytes) -> list[bytes]:
    """Records of LevelDB's log format: chunks in blocks, large records in several chunks."""
    records, parts, place = [], b"", _FILE_HEADER
    while place + _CHUNK_HEADER <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _CHUNK_HEADER:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        place += _CHUNK_HEADER
        parts += content[place : place + length]
        place += length
        if kind in (_FULL, _LAST):
            records.append(parts)
            parts = b""
    return records
