import yaml

from tests.report.run_folders import config
from wsss_zoo.report.page.photos import read_photos


def test_photographs_of_the_runs_data_set(tmp_path):
    content = config(data={"num_train": 2, "image_size": 48, "predict_split": "train"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    from wsss_zoo.data import Shapes

    data = Shapes(num_train=2, image_size=48)
    data.setup("predict")
    image_id = data.predict_ids()[1]
    photos, error = read_photos(tmp_path, [image_id])
    assert error == ""
    image, mask = photos[image_id]
    assert (image == data.read_image(image_id)).all()
    assert (mask == data.read_mask(image_id)).all()


def test_what_goes_wrong_is_said(tmp_path):
    assert "config.yaml" in read_photos(tmp_path, ["a"])[1]
    (tmp_path / "config.yaml").write_text("data: {class_path: nowhere.Nothing}")
    photos, error = read_photos(tmp_path, ["a"])
    assert photos == {}
    assert error
