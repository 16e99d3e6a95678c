"""A tiny COCO 2014 in the layout and the JSON of the official archives."""

import json

import numpy as np

from tests.data.conftest import save_image
from wsss_zoo.data.sets.class_names.coco import COCO_STUFF_LABELS, COCO_THINGS

NUMBERS = {name: number for number, name in COCO_STUFF_LABELS.items() if name in COCO_THINGS}
HEIGHT, WIDTH = 40, 60
TRAIN = [f"COCO_train2014_{number:012d}" for number in (9, 25, 30, 34)]
VAL = [f"COCO_val2014_{number:012d}" for number in (42, 73)]


def box(x0, y0, x1, y1):
    """A rectangle as COCO's polygon."""
    return [[float(v) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]]


def run_lengths(region):
    """COCO's uncompressed run lengths: column by column, starting with zeros."""
    flat = region.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"counts": [0, *counts] if flat[0] else counts, "size": list(region.shape)}


def region_of(x0, y0, x1, y1):
    region = np.zeros((HEIGHT, WIDTH), dtype=bool)
    region[y0:y1, x0:x1] = True
    return region


def thing(name, outline, area, is_crowd=0):
    return {
        "category_id": NUMBERS[name],
        "segmentation": outline,
        "area": float(area),
        "iscrowd": is_crowd,
    }


# By image: a cat with a smaller cup on it; a crowd of persons (run lengths) behind a dog; nothing;
# a toothbrush (number 90, class 80) given by run lengths.
OBJECTS = {
    TRAIN[0]: [thing("cup", box(10, 10, 20, 20), 100), thing("cat", box(5, 5, 35, 35), 900)],
    TRAIN[1]: [
        thing("dog", box(0, 0, 30, 20), 600),
        thing("person", run_lengths(region_of(20, 0, 60, 10)), 400, 1),
    ],
    TRAIN[2]: [],
    TRAIN[3]: [thing("toothbrush", run_lengths(region_of(40, 20, 60, 40)), 400)],
    VAL[0]: [thing("cat", box(0, 0, 20, 40), 800)],
    VAL[1]: [thing("dog", box(30, 10, 50, 30), 400)],
}


def write_annotations(path, ids, objects, size=(HEIGHT, WIDTH)):
    """An ``instances_*.json`` with all the keys of the official one."""
    numbers = {image_id: int(image_id[-12:]) for image_id in ids}
    content = {
        "info": {"description": "COCO 2014 Dataset", "year": 2014},
        "licenses": [{"id": 1, "name": "a licence", "url": "http://example.org"}],
        "images": [
            {
                "license": 1,
                "file_name": f"{image_id}.jpg",
                "coco_url": "http://example.org",
                "height": size[0],
                "width": size[1],
                "id": number,
            }
            for image_id, number in numbers.items()
        ],
        "annotations": [
            {"id": 1000 + place, "image_id": numbers[image_id], "bbox": [0, 0, 1, 1], **item}
            for image_id in ids
            for place, item in enumerate(objects[image_id])
        ],
        "categories": [
            {"supercategory": "thing", "id": number, "name": name}
            for name, number in NUMBERS.items()
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_coco(root):
    for part, ids in (("train2014", TRAIN), ("val2014", VAL)):
        for seed, image_id in enumerate(ids):
            save_image(root / part / f"{image_id}.jpg", HEIGHT, WIDTH, seed)
        write_annotations(root / "annotations" / f"instances_{part}.json", ids, OBJECTS)
    return root
