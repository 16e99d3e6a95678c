import pytest

from tests.callbacks.fakes import IDS, ToyData, ToySegmenter, trainer_in
from tests.each import each
from wsss_zoo.callbacks.writers.resumable_writer import ResumableWriter


class Writer(ResumableWriter):
    def __init__(self, done):
        super().__init__()
        self.done, self.events = done, []

    def setup(self, trainer, pl_module, stage):
        self._leave_out_done(trainer, pl_module, trainer.datamodule)

    def _begin_folder(self, trainer, module, data):
        self.events.append("take")
        if isinstance(self.done, str):
            raise ValueError(self.done)
        return set(self.done)

    def _finish_folder(self, trainer, data):
        self.events.append("finish")


def predict(*writers, data=None):
    data, method = data or ToyData(), ToySegmenter()
    trainer_in(".", *writers).predict(method, datamodule=data, return_predictions=False)
    assert data.resumed_by == []
    return method.seen


def test_images_that_are_done_are_left_out():
    writer = Writer(IDS[:2])
    assert predict(writer) == IDS[2:]
    assert writer.events == ["take", "finish"]


def test_an_image_is_left_out_if_all_have_it():
    writers = [Writer(IDS[:4]), Writer(IDS[2:]), Writer(IDS[1:])]
    assert predict(*writers) == [*IDS[:2], *IDS[4:]]
    assert all(writer.events == ["take", "finish"] for writer in writers)


def test_who_has_all_finishes_once_though_the_others_go_on():
    finished, other = Writer(IDS), Writer(IDS[1:])
    assert predict(finished, other) == IDS[:1]
    assert finished.events == other.events == ["take", "finish"]


def test_nothing_left_is_no_prediction():
    writers = [Writer(IDS), Writer(IDS)]
    assert predict(*writers) == []
    assert all(writer.events == ["take", "finish"] for writer in writers)


@each("skips", [True, False])
def test_a_folder_that_cannot_be_taken_ends_the_prediction(skips):
    data = ToyData()
    if not skips:
        data.predict_dataloader = lambda: data.loader(data.ids)  # does not ask what is done
    with pytest.raises(ValueError, match="another run's"):
        predict(Writer("another run's"), data=data)
    assert data.resumed_by == []


def test_each_rank_has_an_image():
    """With one image left for three processes two are made again."""

    class Strategy:
        broadcast = staticmethod(lambda value: value)

    class Trainer:
        is_global_zero, world_size, strategy = True, 3, Strategy

    data, writer = ToyData(), Writer(IDS[:-1])
    writer._leave_out_done(Trainer, None, data)
    assert [find_done() for find_done in data.resumed_by] == [set(IDS[2:-1])]
