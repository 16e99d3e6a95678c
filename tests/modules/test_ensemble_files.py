import pytest
import torch

from wsss_zoo.modules.ensemble_files import read_version, write_version


def state(seed, rows=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (rows, 40), dtype=torch.uint8, generator=generator)


def test_reads_what_it_wrote_from_the_first_folder_that_has_it(tmp_path):
    name = write_version(state(0), tmp_path / "b", 12)
    assert name.startswith("ensemble-00000012-")
    assert list((tmp_path / "b").iterdir()) == [tmp_path / "b" / name]
    held = read_version(name, [tmp_path / "a", tmp_path / "b"], (3, 40))
    assert torch.equal(held, state(0))


def test_empty_state(tmp_path):
    name = write_version(state(0, rows=0), tmp_path, 0)
    assert read_version(name, [tmp_path], (0, 40)).shape == (0, 40)


def test_equal_states_of_a_step_share_a_file_and_others_do_not(tmp_path):
    names = {write_version(state(seed), tmp_path, 5) for seed in (0, 0, 1)}
    assert len(names) == len(list(tmp_path.iterdir())) == 2


def test_last_two_stay_and_those_that_a_checkpoint_names(tmp_path):
    names = [write_version(state(0), tmp_path, 0)]
    torch.save({"ensemble": {"file": names[0]}}, tmp_path / "best.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "of another method.ckpt")
    names += [write_version(state(step), tmp_path, step) for step in range(1, 5)]
    left = {path.name for path in tmp_path.glob("*.bin")}
    assert left == {names[0], names[-2], names[-1]}


def test_nothing_goes_while_a_checkpoint_cannot_be_read(tmp_path):
    (tmp_path / "broken.ckpt").write_bytes(b"half a file")
    for step in range(4):
        write_version(state(step), tmp_path, step)
    assert len(list(tmp_path.glob("*.bin"))) == 4


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ensemble-0.* is not in .*put it beside"):
        read_version("ensemble-00000001-0123456789abcdef.bin", [tmp_path], (3, 40))


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_file(damage, tmp_path):
    name = write_version(state(0), tmp_path, 1)
    content = bytearray((tmp_path / name).read_bytes())
    content = content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="is damaged; start a new run"):
        read_version(name, [tmp_path], (3, 40))
