"""``wsss-zoo saliency``: write saliency maps of any images, by a network in an ONNX file."""

import os
from pathlib import Path

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.data import BaseDataModule
from wsss_zoo.deploy.image_maps import MapModule, open_images, write_maps
from wsss_zoo.deploy.prediction import TrainerOptions
from wsss_zoo.deploy.saliency_network import Preprocessing, SaliencyNetwork
from wsss_zoo.files.manifests import sha256_file
from wsss_zoo.files.map_folder import MapFolder
from wsss_zoo.files.saliency_maps import write_saliency_map


def write_saliency(
    folder: Path | None = None,
    *,
    model_path: Path,
    trainer: TrainerOptions,
    data: BaseDataModule | None = None,
    out: Path | None = None,
    preprocessing: Preprocessing = "u2net",
    num_threads: int = 0,
    num_workers: int = 1,
    overwrite: bool = False,
) -> int:
    """Write a saliency map for every image of a folder or of a split of a data set.

    OUT/<image>.png is grey and of the image's size, 255 where a pixel stands out: what predict
    takes as --labels.saliency_dir OUT. Run it again after an interruption, or after images were
    added or changed: it makes only what is missing.

    The network is an ONNX file of yours, such as U2-Net: one input (1, 3, side, side), and the map
    as its first output.

    Args:
        folder: Folder of images, sub-folders included.
        model_path: ONNX file of the saliency network.
        trainer: Lightning's Trainer.
        data: Data set in place of FOLDER; its predict_split.
        out: Folder to write; default FOLDER_saliency.
        preprocessing: What the network expects. u2net: 320 x 320 pixels, divided by the largest
            value, ImageNet's mean and deviation. isnet: 1024 x 1024, mean 0.5, deviation 1.
        num_threads: Threads of the network in each process; 0 divides the cores among them.
        num_workers: Processes that read images.
        overwrite: Delete all maps in OUT, of any network, and start afresh.

    Returns:
        1 if an image has no map, else 0.

    Raises:
        UsageError: If an option, the images or the network cannot be used.
        ValueError: If OUT holds maps of another network.
    """
    with usage_errors():
        for name, value in (("num_threads", num_threads), ("num_workers", num_workers)):
            if value < 0:
                raise ValueError(f"{name} is {value}; give a number >= 0")
        images, directory = open_images(folder, data, out, num_workers, "saliency")
        threads = num_threads or _share_of_cores(trainer)
        network = SaliencyNetwork(model_path, preprocessing, threads)
    # What decides the maps: a folder never mixes two of them.
    identity = {"model_sha256": sha256_file(model_path), "preprocessing": preprocessing}
    maps = MapFolder(
        directory,
        identity,
        write_saliency_map,
        command="saliency",
        contents="saliency maps of another network",
    )
    module = MapModule(network, network.use_gpu)
    return write_maps(module, images, maps, trainer, "saliency maps", overwrite=overwrite)


def _share_of_cores(trainer: TrainerOptions) -> int:
    processes = trainer.devices if isinstance(trainer.devices, int) else 1
    return max(1, (os.cpu_count() or 1) // max(1, processes))
