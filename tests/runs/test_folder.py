import os
import threading
from pathlib import Path

import pytest
from pytorch_lightning.utilities import rank_zero_only

from wsss_zoo.runs.folder import claim_run_folder, config_name


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [*os.environ]:
        if name.startswith("WSSS_ZOO"):
            monkeypatch.delenv(name)
    # What a test's code sets is taken away again.
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_claims_the_next_free_version(tmp_path):
    (tmp_path / "version_3").mkdir()
    (tmp_path / "version_x").mkdir()
    assert claim_run_folder(tmp_path) == tmp_path / "version_4"
    assert claim_run_folder(tmp_path) == tmp_path / "version_5"


def test_two_at_once_get_two_folders(tmp_path):
    claimed: list[Path] = []
    threads = [
        threading.Thread(target=lambda: claimed.append(claim_run_folder(tmp_path)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert sorted(claimed) == [tmp_path / f"version_{number}" for number in range(8)]


def test_other_ranks_take_the_first_ones_folder(tmp_path, monkeypatch):
    first = claim_run_folder(tmp_path)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert claim_run_folder(tmp_path) == first
    os.environ.pop("WSSS_ZOO_RUN_FOLDER")
    with pytest.raises(RuntimeError, match=r"give --trainer\.default_root_dir"):
        claim_run_folder(tmp_path)


def test_config_of_a_fit_is_not_overwritten(tmp_path):
    assert config_name(tmp_path, "predict") == "config.yaml"
    (tmp_path / "config.yaml").write_text("# wsss-zoo predict\nmodel: {}\n")
    assert config_name(tmp_path, "predict") == "config.yaml"
    assert config_name(tmp_path, "validate") == "config_validate.yaml"
    assert config_name(tmp_path, "fit") == "config.yaml"
