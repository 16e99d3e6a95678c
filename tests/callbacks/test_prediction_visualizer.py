import pytest
from PIL import Image
from pytorch_lightning.loggers import CSVLogger

from tests.callbacks.fakes import IDS, NAMES, ToyCAM, ToyData, ToySegmenter, trainer_in
from wsss_zoo.callbacks import PredictionVisualizer, prediction_visualizer


class PictureLogger(CSVLogger):
    """A logger that takes pictures, as wandb's does."""

    def log_image(self, key, images, step=None):
        self.pictures = [*getattr(self, "pictures", []), (key, images, step)]


@pytest.fixture
def drawn(monkeypatch):
    """The rows of each sheet that is drawn."""
    sheets = []

    def recorded(rows, names):
        sheets.append((rows, names))
        return prediction_visualizer_draw(rows, names)

    prediction_visualizer_draw = prediction_visualizer.draw_sheet
    monkeypatch.setattr(prediction_visualizer, "draw_sheet", recorded)
    return sheets


def test_first_images_of_each_epoch_but_not_of_the_sanity_check(tmp_path, drawn):
    logger = PictureLogger(tmp_path)
    trainer = trainer_in(
        tmp_path,
        PredictionVisualizer(num_images=2),
        max_epochs=2,
        num_sanity_val_steps=2,
        logger=logger,
        log_every_n_steps=1,
    )
    trainer.fit(ToySegmenter(), ToyData())
    assert [[row.image_id for row in rows] for rows, _ in drawn] == [IDS[:2]] * 2
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "val_epoch000.png",
        "val_epoch001.png",
    ]
    assert [(key, step) for key, _, step in logger.pictures] == [
        ("val/pictures", 2),
        ("val/pictures", 4),
    ]
    assert isinstance(logger.pictures[0][1][0], Image.Image)


@pytest.mark.parametrize("method", [ToySegmenter, ToyCAM])
def test_rows_hold_what_batch_and_method_give(tmp_path, drawn, method):
    data = ToyData()
    trainer_in(tmp_path, PredictionVisualizer()).test(method(), data, verbose=False)
    rows, names = drawn[0]
    assert names == NAMES
    assert len(rows) == 4
    assert (rows[0].image == data.read_image(IDS[0])).all()
    assert (rows[0].truth == data.read_mask(IDS[0])).all()
    assert (rows[0].image_labels == data.image_labels_of(IDS[0])).all()
    if method is ToySegmenter:
        assert rows[0].scores is None
        assert (rows[0].preds == data.read_image(IDS[0]).argmax(2) + 1).all()
    else:
        assert rows[0].preds is None
        assert ((rows[0].scores > 0) & (rows[0].scores < 1)).all()
    with Image.open(tmp_path / "pictures" / "test_epoch000.png") as sheet:
        assert sheet.width > 100


def test_images_without_masks_are_drawn(tmp_path, drawn):
    trainer_in(tmp_path, PredictionVisualizer(1)).validate(
        ToyCAM(), ToyData(masks=False), verbose=False
    )
    assert drawn[0][0][0].truth is None


@pytest.mark.parametrize("options", [{"num_images": 0}, {"fast_dev_run": True}])
def test_nothing_is_drawn(tmp_path, options):
    visualizer = PredictionVisualizer(options.pop("num_images", 4))
    trainer_in(tmp_path, visualizer, **options).validate(ToySegmenter(), ToyData(), verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_negative_number_is_refused():
    with pytest.raises(ValueError, match="num_images"):
        PredictionVisualizer(-1)


def test_class_names_are_needed(tmp_path):
    loader = ToyData().val_dataloader()
    with pytest.raises(ValueError, match="does not know the class names"):
        trainer_in(tmp_path, PredictionVisualizer()).validate(ToySegmenter(), loader, verbose=False)
    trainer_in(tmp_path, PredictionVisualizer(class_names=NAMES)).validate(
        ToySegmenter(), loader, verbose=False
    )
    assert (tmp_path / "pictures" / "val_epoch000.png").exists()
