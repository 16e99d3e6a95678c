"""Loader processes keep their hands off the objects of the process that they are forked from."""

import gc
import os
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from wsss_zoo.data.loading.loaders import evaluation_loader


class _Session:
    """What a worker must not free: it would wait for threads that it does not have."""

    def __init__(self, freed: Path) -> None:
        self.freed, self.itself = freed, self

    def __del__(self) -> None:
        with self.freed.open("a") as file:
            file.write(f"{os.getpid()}\n")


class _Collecting(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        gc.collect()
        return {"enabled": torch.tensor(gc.isenabled()), "pid": torch.tensor(os.getpid())}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_garbage_of_the_main_process_is_freed_by_no_worker(tmp_path):
    gc.disable()
    try:
        _Session(tmp_path / "freed")  # garbage that only a collection finds
        assert not gc.isenabled()
        loader = evaluation_loader(_Collecting(), num_workers=1, ranks=1, rank=0)
        rows = list(loader)
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert all(row["enabled"].all() and row["pid"].item() != os.getpid() for row in rows)
    assert not (tmp_path / "freed").exists()
    gc.collect()
    assert (tmp_path / "freed").read_text().split() == [str(os.getpid())]


def test_the_main_process_collects_garbage_as_before():
    assert len(list(evaluation_loader(_Collecting(), num_workers=1, ranks=1, rank=0))) == 2
    assert gc.isenabled()
