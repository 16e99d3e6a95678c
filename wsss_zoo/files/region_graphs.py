"""A folder of region graphs: the files between the pass that builds them and GATCorrector.

``<image_id>.npz`` (one `RegionGraph`, no pickle) and ``manifest.json``, which is written last; see
`wsss_zoo.files.manifests`.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.manifests import (
    Contents,
    Manifest,
    begin_folder_of,
    checked_id,
    read_manifest_of,
    write_manifest,
)

GRAPHS = Contents("region graphs", "graphs", ".npz", "--graphs.out_dir", "delete it")
# Pixel maps shrink to a fraction in no time; features hardly shrink, and are read every epoch.
_DEFLATED = ("segments", "label", "clean", "prediction", "edge_index")
_FAST = 1


@dataclass(frozen=True, eq=False)
class RegionGraph:
    """Superpixels of an image as the nodes of a graph, and what is known of their labels.

    The annotations say type and shape: V regions, D features, C classes with the background, E
    directed edges, H x W pixels.

    Args:
        segments: Region of each pixel, 0..V-1.
        x: Pooled features.
        probs: Pooled class probabilities of the clean network, background and tagged classes only.
        edge_index: Regions that share a border, both directions.
        kept: The edges that `functional.prune_edges` keeps.
        counts: Pixels of each region by their noisy label, ignored ones left out.
        clean_counts: The same for the clean pixels.
        loss: Mean label loss of a region's labelled pixels, inf where it has none.
        label: Noisy label, 255 = ignored.
        clean: Pixels whose label is taken to be right.
        prediction: Classes that the clean network predicts, background and tagged ones only.
    """

    segments: Annotated[NDArray[np.int32], "int32", "HW"]
    x: Annotated[NDArray[np.float32], "float32", "VD"]
    probs: Annotated[NDArray[np.float32], "float32", "VC"]
    edge_index: Annotated[NDArray[np.int64], "int64", "2E"]
    kept: Annotated[NDArray[np.bool_], "bool", "E"]
    counts: Annotated[NDArray[np.int32], "int32", "VC"]
    clean_counts: Annotated[NDArray[np.int32], "int32", "VC"]
    loss: Annotated[NDArray[np.float32], "float32", "V"]
    label: Annotated[NDArray[np.uint8], "uint8", "HW"]
    clean: Annotated[NDArray[np.bool_], "bool", "HW"]
    prediction: Annotated[NDArray[np.uint8], "uint8", "HW"]


# Type and dimensions of each array.
_ARRAYS: dict[str, tuple[str, str]] = {
    name: hint.__metadata__
    for name, hint in get_type_hints(RegionGraph, include_extras=True).items()
}


def graph_path(directory: Path, image_id: str) -> Path:
    """Name the file of a region graph; ValueError if the id would lead out of the folder."""
    return directory / f"{checked_id(image_id)}.npz"


def write_graph(directory: Path, image_id: str, graph: RegionGraph) -> None:
    """Write a region graph; the file appears complete or not at all.

    Ids that fit are stored in 16 bits, ``clean`` in one bit per pixel. ValueError if arrays do not
    fit together, or the id would lead out of the folder.
    """
    problem = _problem(graph)
    if problem is not None:
        raise ValueError(f"region graph of {image_id} cannot be written: {problem}")
    arrays: dict[str, NDArray[Any]] = {name: getattr(graph, name) for name in _ARRAYS}
    if len(graph.x) <= 1 << 16:
        for name in ("segments", "edge_index"):
            arrays[name] = arrays[name].astype(np.uint16)
    arrays["clean"] = np.packbits(graph.clean)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
            how = zipfile.ZIP_DEFLATED if name in _DEFLATED else zipfile.ZIP_STORED
            # A ZipInfo has no time of its own: the same graph is the same file.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), file.getbuffer(), how, _FAST)
    write_atomic(graph_path(directory, image_id), buffer.getbuffer())


def read_graph(directory: Path, image_id: str) -> RegionGraph:
    """Read an image's region graph; OSError with the file's name if it is missing or damaged."""
    path = graph_path(directory, image_id)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            # zipfile compares checksums as it reads: a flipped bit does not pass.
            arrays = {name: stored[name] for name in _ARRAYS}
        pixels = arrays["label"].size
        if arrays["clean"].size != -(-pixels // 8):
            raise ValueError(f"clean has {arrays['clean'].size} bytes for {pixels} pixels")
        bits = np.unpackbits(arrays["clean"], count=pixels)
        arrays["clean"] = bits.reshape(arrays["label"].shape)
        graph = RegionGraph(
            **{name: array.astype(_ARRAYS[name][0], copy=False) for name, array in arrays.items()}
        )
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing; write it with 'wsss-zoo predict --graphs.pseudo_label_dir ...'"
        ) from None
    except Exception as error:  # numpy lets zipfile's and zlib's errors through
        raise _damaged(path, str(error)) from error
    problem = _problem(graph)
    if problem is not None:
        raise _damaged(path, problem)
    return graph


def has_graph(directory: Path, image_id: str) -> bool:
    """Say whether an image's graph is there and not cut short; its contents are not read."""
    path = graph_path(directory, image_id)
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in _ARRAYS} <= set(archive.namelist())
    except Exception:  # zipfile lets NotImplementedError and more through
        return False


def begin_graphs(directory: Path, manifest: Manifest, image_ids: Sequence[str]) -> set[str]:
    """Begin or resume a folder of graphs; files cut short do not count; see `begin_folder_of`."""
    return begin_folder_of(directory, GRAPHS, manifest, image_ids, partial(has_graph, directory))


def finish_graphs(directory: Path, manifest: Manifest, image_ids: Sequence[str]) -> None:
    """Declare a folder of graphs finished; FileNotFoundError if an image has none."""
    check_graphs(directory, image_ids)
    write_manifest(directory, manifest)


def read_graph_manifest(directory: Path, class_names: Sequence[str] | None = None) -> Manifest:
    """Read the manifest of a finished folder of graphs; see `read_manifest_of`."""
    return read_manifest_of(directory, GRAPHS, class_names)


def open_graphs(
    directory: str | None, class_names: Sequence[str], image_ids: Sequence[str]
) -> RegionGraph:
    """Check that a folder, as given to a data module, has graphs of images; read the first.

    FileNotFoundError if there is no such folder, or it is not finished or lacks an image;
    ValueError if none is given or it is of other classes.
    """
    if directory is None:
        raise ValueError(
            "supervision 'graphs' needs graph_dir, the folder of region graphs that 'wsss-zoo "
            "predict --graphs.pseudo_label_dir ...' wrote"
        )
    if not Path(directory).is_dir():
        raise FileNotFoundError(
            f"graph_dir {directory} is no folder; give the folder 'graphs' of a run of 'wsss-zoo "
            "predict --graphs.pseudo_label_dir ...'"
        )
    read_graph_manifest(Path(directory), class_names)
    check_graphs(Path(directory), image_ids)
    return read_graph(Path(directory), image_ids[0])


def check_graphs(directory: Path, image_ids: Sequence[str]) -> None:
    """Raise FileNotFoundError for images without a graph, or with one that was cut short."""
    missing = [image_id for image_id in image_ids if not has_graph(directory, image_id)]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(image_ids)} images have no whole graph in {directory}, first: "
            f"{', '.join(missing[:3])}; build graphs of this split with 'wsss-zoo predict "
            "--graphs.pseudo_label_dir ...' (the same command again adds what is missing)"
        )


def _damaged(path: Path, problem: str) -> OSError:
    return OSError(
        f"{path} is no region graph ({problem}); delete it and run the predict that wrote it again"
    )


def _problem(graph: RegionGraph) -> str | None:
    """What is wrong with the arrays of a graph; None if nothing is."""
    sizes: dict[str, int] = {"2": 2}
    for name, (dtype, dimensions) in _ARRAYS.items():
        array = getattr(graph, name)
        if array.dtype != dtype:
            return f"{name} is {array.dtype}, expected {dtype}"
        # The first array with a dimension says how large it is.
        sizes = dict(zip(dimensions, array.shape, strict=False)) | sizes
        expected = tuple(sizes.get(dimension, dimension) for dimension in dimensions)
        if array.shape != expected:
            return f"{name} has shape {array.shape}, expected {expected}"
    regions, classes, edges = sizes["V"], sizes["C"], sizes["E"]
    if not graph.segments.size:
        return "it has no pixels"
    lowest, highest = int(graph.segments.min()), int(graph.segments.max())
    if (lowest, highest) != (0, regions - 1):
        return f"segments has ids {lowest}..{highest} for {regions} rows of x"
    if edges and not 0 <= graph.edge_index.min() <= graph.edge_index.max() < regions:
        return f"edge_index names regions outside 0..{regions - 1}"
    for name in ("label", "prediction"):
        values = getattr(graph, name)
        # In eight bits 255, the ignored value, becomes 0.
        if int((values + np.uint8(1)).max()) > classes:
            return f"{name} holds a class index beyond the {classes} classes of counts"
    for name in ("x", "probs"):
        if not np.isfinite(getattr(graph, name)).all():
            return f"{name} has values that are not finite"
    return None
