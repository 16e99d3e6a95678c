"""A folder of label maps to examine, written by ``predict`` or elsewhere."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss_zoo.callbacks.map_files import check_maps, check_size
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.manifests import HEADER, MANIFEST, sha256_file
from wsss_zoo.files.pseudo_labels import label_path, read_label, read_manifest


@dataclass(frozen=True)
class GivenLabels:
    """Label maps of all images of a prediction.

    Their identity is the SHA-256 of the folder's manifest, or of the maps where it has none.
    """

    directory: Path
    num_classes: int
    identity: str

    def read(self, image_id: str, size: Sequence[int]) -> UInt8Array:
        """Read the label map of an image of a height and width: 255 = ignored, (H, W).

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it has another size than the image, or an unknown class index.
        """
        path = label_path(self.directory, image_id)
        label = read_label(self.directory, image_id)
        check_size(path, "label map", image_id, label.shape, size)
        highest = int(label[label != IGNORE_INDEX].max(initial=0))
        if highest >= self.num_classes:
            raise ValueError(
                f"label map {path} holds class index {highest}, but the data set has the indices "
                f"0..{self.num_classes - 1} and 255; correct the map or --data.classes"
            )
        return label


def open_labels(
    directory: str, class_names: Sequence[str], image_ids: Sequence[str], option: str
) -> GivenLabels:
    """Find the label map of every image in a folder that the user gives by an option.

    A folder without manifest is taken as it is.

    Raises:
        FileNotFoundError: If the folder is missing or unfinished, or lacks maps; see `check_maps`.
        ValueError: If the folder is for other classes or has lost files.
    """
    folder = Path(directory)
    check_maps(
        folder,
        image_ids,
        option=option,
        kind="label map",
        content="with a label map <image_id>.png of every image, such as the pseudo_labels that "
        "'wsss-zoo predict' writes",
        remedy="predict labels of these images too, or choose another --data.predict_split",
    )
    if (folder / MANIFEST).exists() or (folder / HEADER).exists():
        read_manifest(folder, list(class_names))
        identity = sha256_file(folder / MANIFEST)
    else:
        digest = hashlib.sha256()
        for image_id in image_ids:
            digest.update(f"{image_id} {sha256_file(label_path(folder, image_id))}\n".encode())
        identity = digest.hexdigest()
    return GivenLabels(folder, len(class_names), identity)
