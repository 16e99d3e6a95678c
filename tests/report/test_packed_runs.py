import json
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.report.run_folders import write_pipeline, write_run
from wsss_zoo.cli import main
from wsss_zoo.report import packed_runs
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.packed_runs import origin, pack, unpack, unpacked


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def results(tmp_path):
    """Two families of runs, as folders in ``plain`` and packed in ``packed``."""
    for family in ("semi", "tags"):
        for seed in (0, 1):
            write_run(tmp_path / "plain" / family / "supervised" / f"seed{seed}", seed=seed)
    write_pipeline(tmp_path / "plain" / "tags" / "st" / "seed0")
    (tmp_path / "packed").mkdir()
    for family in ("semi", "tags"):
        pack(tmp_path / "plain" / family, tmp_path / "packed" / f"{family}.runs.zip")
    return tmp_path


def test_round_trip(results):
    unpack(results / "packed" / "tags.runs.zip", results / "again")
    assert files_of(results / "again") == files_of(results / "plain" / "tags")


def test_the_same_files_give_the_same_bytes(results):
    copy = results / "copy"
    for name in sorted(files_of(results / "plain" / "semi"), reverse=True):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results / "plain" / "semi" / name, copy / name)
    pack(copy, results / "copy.runs.zip")
    first = (results / "packed" / "semi.runs.zip").read_bytes()
    assert (results / "copy.runs.zip").read_bytes() == first
    assert sorted(p.name for p in (results / "packed").iterdir()) == [
        "semi.runs.zip",
        "tags.runs.zip",
    ]


@pytest.mark.parametrize("place", [".", "semi", "tags", "tags/st", "semi/supervised/seed1"])
def test_packed_families_are_read_like_folders(results, place):
    plain, packed = (find_runs([results / kind / place]).runs for kind in ("plain", "packed"))
    assert [run.name for run in packed] == [run.name for run in plain]
    for one, other in zip(plain, packed, strict=True):
        assert other.metrics == one.metrics
        assert other.settings == one.settings
        assert (other.recipe, other.stage, other.seconds) == (one.recipe, one.stage, one.seconds)
        assert origin(other.folder) == results / "packed" / one.folder.relative_to(
            results / "plain"
        )


def test_an_archive_can_be_given_itself(results):
    names = [run.name for run in find_runs([results / "packed" / "semi.runs.zip"]).runs]
    assert names == ["supervised/seed0", "supervised/seed1"]


def test_a_family_in_another_folder(results, monkeypatch):
    monkeypatch.chdir(results / "plain")
    (run, _) = find_runs([Path("../packed/semi")]).runs
    assert origin(run.folder) == results / "packed" / "semi" / "supervised" / "seed0"


def test_a_family_given_twice_counts_once(results):
    found = find_runs([results / "packed", results / "packed" / "semi"])
    assert len(found.runs) == len(find_runs([results / "packed"]).runs)
    assert found.problems == [
        f"{results / 'packed' / 'semi'}: 2 runs were given before; they count once"
    ]


def test_folders_beside_archives(results):
    write_run(results / "packed" / "mine" / "seed0")
    # Unpacked by hand: the folder counts.
    unpack(results / "packed" / "semi.runs.zip", results / "packed" / "semi")
    shutil.rmtree(results / "packed" / "semi" / "supervised" / "seed1")
    names = [run.name for run in find_runs([results / "packed"]).runs]
    assert "mine/seed0" in names
    assert [name for name in names if name.startswith("semi")] == ["semi/supervised/seed0"]
    with pytest.raises(FileNotFoundError):
        find_runs([results / "packed" / "semi" / "supervised" / "seed1"])


def test_what_is_not_packed_stays_as_it_is(results):
    for place in (results / "plain", results / "nowhere"):
        assert unpacked(place) == [place]
        assert origin(place) == place
    with pytest.raises(FileNotFoundError, match=f"there is no folder {results}/packed/semi/cps;"):
        find_runs([results / "packed" / "semi" / "cps"])


def test_an_archive_that_changed_is_read_again(results):
    archive = results / "packed" / "semi.runs.zip"
    assert len(find_runs([archive]).runs) == 2
    write_run(results / "plain" / "semi" / "cps" / "seed0")
    pack(results / "plain" / "semi", archive)
    assert len(find_runs([archive]).runs) == 3


def test_compare_names_the_place_of_a_packed_run(results, monkeypatch, capsys):
    monkeypatch.chdir(results)
    assert main(["compare", "packed/semi", "--no-html", "--json", "runs.json"]) in (0, None)
    folders = [run["folder"] for run in json.loads((results / "runs.json").read_text())["runs"]]
    assert folders == [str(results / f"packed/semi/supervised/seed{seed}") for seed in (0, 1)]


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt"])
def test_an_archive_does_not_lead_out_of_its_folder(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.runs.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(
        ValueError, match=r"bad\.runs\.zip cannot be read: .*leads out of its folder"
    ):
        find_runs([tmp_path / "bad"])
    assert [path.name for path in tmp_path.iterdir()] == ["bad.runs.zip"]


def test_an_archive_that_would_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(packed_runs, "_MOST_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.runs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1001))
    with pytest.raises(ValueError, match="unpack to 1001 bytes, more than 1000"):
        find_runs([tmp_path / "bomb"])


def test_a_damaged_archive(results):
    archive = results / "packed" / "semi.runs.zip"
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cannot be read: .*; restore the file"):
        find_runs([archive])
