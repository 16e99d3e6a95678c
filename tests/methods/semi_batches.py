"""Batches of the semi-supervised regime, made by hand."""

import torch

TINY = "test_efficientnet"


def semi_batch(size: int = 64, labeled: int = 2, unlabeled: int = 3, views: int = 2) -> dict:
    """Random pictures with some padding, tags of two of the three classes and an audit mask."""
    torch.manual_seed(1)
    valid = torch.ones(unlabeled, size, size, dtype=torch.bool)
    valid[0, size // 2 :] = False
    strong_valid = valid[:, None].repeat(1, views, 1, 1)
    strong_valid[-1, 0, :8, :8] = False
    mask = torch.randint(0, 4, (labeled, size, size))
    mask[:, :4] = 255
    return {
        "labeled": {
            "image": torch.rand(labeled, 3, size, size),
            "mask": mask,
            "image_labels": torch.ones(labeled, 3),
            "image_id": [f"l{index}" for index in range(labeled)],
        },
        "unlabeled": {
            "weak": torch.rand(unlabeled, 3, size, size),
            "strong": torch.rand(unlabeled, views, 3, size, size),
            "valid": valid,
            "strong_valid": strong_valid,
            "geometry": torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]]).repeat(unlabeled, 1),
            "image_size": torch.tensor([[size, size]]).repeat(unlabeled, 1),
            "image_id": [f"u{index}" for index in range(unlabeled)],
            "image_labels": torch.tensor([[1.0, 0.0, 1.0]]).repeat(unlabeled, 1),
            "has_image_labels": torch.tensor([True] * (unlabeled - 1) + [False]),
            "audit_mask": torch.randint(0, 4, (unlabeled, size, size)),
        },
    }


def changed(batch: dict, **unlabeled) -> dict:
    """A batch with other entries in its unlabelled half; None takes one out."""
    half = batch["unlabeled"] | unlabeled
    kept = {name: value for name, value in half.items() if value is not None}
    return batch | {"unlabeled": kept}


def quiet(method, step: int = 0):
    """A method outside of a Trainer: what it logs lands in ``logged``; in step `step`."""
    logged: dict = {}
    method.log = lambda name, value, **_: logged.update({name: value})
    method.log_dict = lambda values, **_: logged.update(values)
    method.logged = logged
    method._trainer = type("Trainer", (), {"global_step": step, "datamodule": None})()
    return method
