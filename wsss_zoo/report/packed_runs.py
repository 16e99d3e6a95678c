"""Pack families of runs into one file each, and read these like folders."""

import atexit
import functools
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from wsss_zoo.files.atomic import replacing

SUFFIX = ".runs.zip"
_TEMPORARY = "wsss_zoo_runs_"
# Of the unpacked files together; the kept runs of a family have about 1 MB.
_MOST_BYTES = 256 * 2**20


def pack(folder: Path, archive: Path) -> None:
    """Pack a folder of runs into a file. The same files give the same bytes."""
    with (
        replacing(archive) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed,
    ):
        for path in sorted(filter(Path.is_file, folder.rglob("*"))):
            # Its date is that of every ZipInfo: 1980.
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            member.create_system = 3
            member.external_attr = 0o644 << 16
            packed.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack what `pack` wrote into a folder, which is made.

    Raises:
        ValueError: If the file is damaged, too large or leads out of the folder.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or "\\" in name:
                    raise ValueError(f"it holds {name!r}, which leads out of its folder")
            size = sum(member.file_size for member in packed.infolist())
            if size > _MOST_BYTES:
                raise ValueError(f"it would unpack to {size} bytes, more than {_MOST_BYTES}")
            packed.extractall(folder)
    except Exception as error:  # zipfile lets struct's, zlib's and more errors through
        raise ValueError(
            f"packed runs {archive} cannot be read: {error}; restore the file, or give folders"
        ) from error


def unpacked(folder: Path) -> list[Path]:
    """Find the folders to read in place of one that is packed or holds packed families.

    ``folder`` may be an archive, and ``a/b`` is looked for in ``a.runs.zip`` if there is no folder
    ``a``. Where nothing is packed it is the result. Unpacked files last until the program ends.

    Raises:
        ValueError: If an archive cannot be read.
    """
    if folder.is_dir():
        archives = [path for path in folder.glob(f"*{SUFFIX}") if not _unpacked_name(path).is_dir()]
        if not archives:
            return [folder]
        families = [_unpacked_archive(archive) for archive in archives]
        others = [folder] if any(path.is_dir() for path in folder.iterdir()) else []
        return [*others, families[0].parent]
    for parent in (folder, *folder.parents):
        if parent.is_dir():
            break
        archive = parent if parent.name.endswith(SUFFIX) else Path(f"{parent}{SUFFIX}")
        if archive.is_file():
            return [_unpacked_archive(archive) / folder.relative_to(parent)]
    return [folder]


def origin(folder: Path) -> Path:
    """Name the place that an unpacked folder would have beside its archive."""
    for parent in folder.parents:
        if parent.name.startswith(_TEMPORARY):
            return Path(folder.anchor, folder.relative_to(parent))
    return folder


def _unpacked_name(archive: Path) -> Path:
    return archive.with_name(archive.name.removesuffix(SUFFIX))


def _unpacked_archive(archive: Path) -> Path:
    """Unpack an archive once in this program, and again if it has changed."""
    # Without links and "..": its place in the temporary folder must be within that.
    archive = archive.parent.resolve() / archive.name
    state = archive.stat()
    return _unpack_once(archive, state.st_mtime_ns, state.st_size)


@functools.cache
def _unpack_once(archive: Path, changed: int, size: int) -> Path:
    folder = _temporary_folder() / _unpacked_name(archive).relative_to(archive.anchor)
    shutil.rmtree(folder, ignore_errors=True)
    unpack(archive, folder)
    return folder


@functools.cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix=_TEMPORARY)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
