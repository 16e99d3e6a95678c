"""Exports of annotation tools, in the layouts that the tools write."""

import base64
import io
import json

import numpy as np
from PIL import Image


def png(mask):
    """A mask as labelme's base64 PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask, bool)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def save_image(path, height=40, width=60, orientation=None):
    """An image of noise; ``height`` and ``width`` are those of the file's own pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), np.uint8)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def labelme_shape(label, points, kind="polygon", **more):
    fixed = {"group_id": None, "description": "", "flags": {}, "mask": None}
    return {"label": label, "points": points, "shape_type": kind, **fixed, **more}


def labelme(path, shapes, image="a.jpg", size=(40, 60), **more):
    content = {
        **{"version": "5.7.0", "flags": {}, "shapes": shapes, "imagePath": image},
        **{"imageData": None, "imageHeight": size[0], "imageWidth": size[1]},
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    return path


def cvat(path, images, labels=("dog", "cat")):
    """``images`` are elements as text, with their names."""
    names = "".join(f"<label><name>{n}</name><color>#ff0000</color></label>" for n in labels)
    body = "".join(
        f'<image id="{i}" name="{name}" width="60" height="40" {more}>{shapes}</image>\n'
        for i, (name, shapes, more) in enumerate(images)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><id>1</id><labels>{names}</labels></task><dumped>now</dumped></meta>\n"
        f"{body}</annotations>\n",
        encoding="utf-8",
    )
    return path


def coco(path, annotations, images=(("a.jpg", 1),), categories=((1, "cat"), (7, "dog"))):
    content = {
        "info": {},
        "images": [
            {"id": number, "file_name": name, "width": 60, "height": 40} for name, number in images
        ],
        "annotations": [{"id": i, "image_id": 1, **a} for i, a in enumerate(annotations, 1)],
        "categories": [{"id": i, "name": n, "supercategory": "animal"} for i, n in categories],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def result(kind, value, number="r1", size=(40, 60), **more):
    """A result of Label Studio."""
    fixed = {"from_name": "label", "to_name": "image", "image_rotation": 0, "origin": "manual"}
    sizes = {"original_width": size[1], "original_height": size[0]}
    return {"id": number, "type": kind, "value": value, **fixed, **sizes, **more}


def task(results, image="/data/upload/3/1a2b3c4d-a.jpg", number=1, **more):
    annotation = {"id": 9, "completed_by": 1, "was_cancelled": False, "result": results}
    annotation["updated_at"] = "2026-01-01T00:00:00.000000Z"
    fixed = {"id": number, "annotations": [annotation], "drafts": [], "predictions": []}
    return {**fixed, "file_upload": image.rpartition("/")[2], "data": {"image": image}, **more}


def labelstudio(path, tasks):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def voc(path, objects, name="a.jpg", size=(40, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><folder>x</folder><filename>{name}</filename><size><width>{size[1]}</width>"
        f"<height>{size[0]}</height><depth>3</depth></size><segmented>0</segmented>{objects}"
        "</annotation>"
    )
    return path
