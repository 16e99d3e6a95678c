"""Folders of one ``<id>.png`` per image, as ``saliency_dir`` and ``segments_dir`` take them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from wsss_zoo.files.pseudo_labels import label_path
from wsss_zoo.files.result_folder import ResultFolder

#: Writes the map of an image: folder, id, map.
WriteMap = Callable[[Path, str, NDArray[Any]], None]


class MapFolder(ResultFolder):
    """Maps of images.

    ``write_map`` writes the map of an image; the other arguments are those of `ResultFolder`.
    """

    def __init__(
        self,
        directory: Path,
        identity: Mapping[str, Any],
        write_map: WriteMap,
        *,
        command: str,
        contents: str,
    ) -> None:
        super().__init__(directory, identity, command=command, contents=contents)
        self._write_map = write_map

    def path_of(self, image_id: str) -> Path:
        """Name the map of an image."""
        return label_path(self.directory, image_id)

    def write(self, image_id: str, values: NDArray[Any]) -> None:
        """Write the map of an image, (H, W)."""
        self._write_map(self.directory, image_id, values)

    def _delete_files(self) -> None:
        for path in self.directory.rglob("*.png"):
            path.unlink()
