"""Tags that nearly every training image has are named."""

import logging

from tests.data.conftest import save_image
from tests.each import each
from wsss_zoo.data import Folder
from wsss_zoo.data.supervision.image_labels import common_classes


@each("without", [1, 2])
def test_a_tag_of_nearly_all_images_is_said(tmp_path, caplog, without):
    rows = ["id,classes"]
    for number in range(20):
        save_image(tmp_path / str(without) / "images" / f"{number}.png", seed=number)
        rows.append(
            f"{number},{'hat' if number < without else 'shoes;hat' if number % 2 else 'shoes'}"
        )
    (tmp_path / str(without) / "image_labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / str(without) / "classes.txt").write_text("background\nhat\nshoes\n")
    data = Folder(
        str(tmp_path / str(without)),
        supervision="image_labels",
        train_split="all",
        crop_size=16,
        num_workers=0,
    )
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    said = "'shoes' is in 95 % of the training images" in caplog.text
    assert said == (without == 1)
    assert "'hat'" not in caplog.text


def test_few_images_say_nothing():
    assert common_classes({str(i): ["cat"] for i in range(19)}, ["cat"]) == []
    assert common_classes({str(i): ["cat"] for i in range(20)}, ["cat"]) == ["'cat' is in 100 %"]
