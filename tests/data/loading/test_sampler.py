import numpy as np

from wsss_zoo.data.loading.sampler import EpochSampler, JoinedSampler


def indices(sampler: EpochSampler) -> list[int]:
    return [index for index, _ in sampler]


def test_an_epoch_is_a_permutation_that_changes():
    sampler = EpochSampler(20, seed=3)
    first = indices(sampler)
    sampler.set_epoch(1)
    second = indices(sampler)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    sampler.set_epoch(0)
    assert indices(sampler) == first
    assert indices(EpochSampler(20, seed=4)) != first


def test_draws_never_repeat():
    sampler = EpochSampler(5, length=12)
    draws = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        draws += [draw for _, draw in sampler]
    assert draws == list(range(36))


def test_repetition_takes_each_image_equally_often():
    counts = np.bincount(indices(EpochSampler(5, length=15)))
    assert counts.tolist() == [3, 3, 3, 3, 3]


def test_ranks_share_the_epoch():
    whole = list(EpochSampler(10, length=12, seed=1))
    parts = [list(EpochSampler(10, length=12, seed=1, num_replicas=2, rank=r)) for r in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert len(parts[0]) == len(EpochSampler(10, length=12, num_replicas=2)) == 6


def test_evaluation_gives_each_image_once_whatever_the_ranks():
    parts = [
        indices(EpochSampler(7, shuffle=False, num_replicas=3, rank=rank)) for rank in range(3)
    ]
    assert parts == [[0, 3, 6], [1, 4], [2, 5]]


def test_resume_skips_once():
    done = iter([2, 0, 5])
    whole = list(EpochSampler(10))
    sampler = EpochSampler(10, batches_done=lambda: next(done), batch_size=2)
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole
    assert list(sampler) == whole  # a checkpoint at the end of an epoch


def test_empty():
    assert list(EpochSampler(0, shuffle=False)) == []


def test_joined_samplers_fill_each_batch_from_both_and_resume():
    def joined(done, rank=0, epoch=3):
        sizes = [(5, 2, 12), (30, 3, 18)]
        parts = [
            EpochSampler(
                size, length=length, seed=7, num_replicas=2, rank=rank, batches_done=lambda: done,
                batch_size=batch,
            )
            for size, batch, length in sizes
        ]  # fmt: skip
        sampler = JoinedSampler(*parts)
        sampler.set_epoch(epoch)
        return list(sampler), sampler

    whole, sampler = joined(0)
    assert len(whole) == len(sampler) == 15
    for start in range(0, 15, 5):
        batch = [index for index, _ in whole[start : start + 5]]
        assert all(index < 5 for index in batch[:2])
        assert all(5 <= index < 35 for index in batch[2:])
    assert joined(1)[0] == whole[5:]
    assert joined(3)[0] == whole
    assert joined(0, epoch=4)[0] != whole
    other = joined(0, rank=1)[0]
    assert len({*whole, *other}) == 30
