"""Runs a method on a data module, as a user would."""

from pytorch_lightning import Trainer

from wsss_zoo.methods import CAM, Supervised


def run_once(data, tmp_path):
    """Fit, validate and predict one batch; returns the metrics and the predictions."""
    kind = CAM if data.supervision == "image_labels" else Supervised
    method = kind(data.num_classes, backbone="test_efficientnet")
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        max_steps=1,
        limit_val_batches=1,
        limit_predict_batches=1,
        num_sanity_val_steps=0,
    )
    trainer.fit(method, datamodule=data)
    return trainer.predict(method, datamodule=data)
