"""Options of the command line for runs that take a second: few small images, a tiny network."""

NETWORK = ["--model.backbone", "test_resnet"]
QUIET = [
    *["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"],
    *["--trainer.enable_model_summary", "false"],
]


def images(size: int = 64, train: int = 8, val: int = 2, batch_size: int = 2) -> list[str]:
    """Options of `Shapes`: so many images of this size, in the process itself."""
    sizes = {
        "image_size": size,
        "crop_size": size,
        "num_train": train,
        "num_val": val,
        "batch_size": batch_size,
        "num_workers": 0,
    }
    return [token for name, value in sizes.items() for token in (f"--data.{name}", str(value))]


def tiny(size: int = 64, train: int = 8, val: int = 2, batch_size: int = 2) -> list[str]:
    """All options of a small run but the method."""
    sanity = ["--trainer.num_sanity_val_steps", "0"]
    return ["--data", "Shapes", *images(size, train, val, batch_size), *NETWORK, *QUIET, *sanity]
