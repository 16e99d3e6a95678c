"""Find image files by the names that annotations give them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import takewhile
from pathlib import Path

from wsss_zoo.files.decoding import readable_suffixes
from wsss_zoo.files.images.image_header import image_header
from wsss_zoo.files.listing import list_files
from wsss_zoo.files.text import Report, id_problem, normalise, raise_problem

#: Folders of images, which are no part of an id.
_PLAIN = {"images", "JPEGImages"}
# Folders of pictures that are annotations.
_MASKS = ("SegmentationClass", "SegmentationObject")
# Pictures that labelme's other converters write into a folder for each file, beside this list.
_CONVERTED, _CONVERTED_LIST = {"img.png", "label.png", "label_viz.png"}, "label_names.txt"
# What helps against a link that leads out of the folder of the annotations.
_FOLDER_OF_IMAGES = ", or name the folder that they are in as --images"
KeyOf = Callable[[str], str]
# Steps of the search that compare whole paths.
_BY_PATH = 3
_suffixes = cache(readable_suffixes)


@dataclass(frozen=True)
class ImageFile:
    """An image below the root.

    Its id is its path without the suffix, and without folders called ``images``.
    """

    image_id: str
    name: str
    path: Path

    @cached_property
    def _header(self) -> tuple[int, int, int]:
        return image_header(str(self.path))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright; OSError if it cannot be read."""
        height, width, orientation = self._header
        return (width, height) if orientation > 4 else (height, width)

    @property
    def orientation(self) -> int:
        """EXIF orientation, 1..8; 1 is upright."""
        return self._header[2]


@dataclass
class ImageIndex:
    """Image files below a root, by path, by name and by stem.

    Args:
        root: The folder; one that does not exist holds none.
        leave_out: Folders whose files do not count: those of the results.
        report: What to do with a file that cannot be used.
    """

    root: Path
    leave_out: tuple[Path, ...] = ()
    report: Report = raise_problem
    #: Names that were found by the file's name alone, though the annotations give a folder too.
    by_name_only: set[str] = field(default_factory=set)
    #: Images that were found by the names of their annotation files, by what these name.
    renamed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def below(cls, base: Path, leave_out: tuple[Path, ...], report: Report) -> "ImageIndex":
        """Index the images of a folder of annotations: those in its folder of images, if any."""
        plain = [base / name for name in sorted(_PLAIN) if (base / name).is_dir()]
        return cls(plain[0] if len(plain) == 1 else base, leave_out, report)

    def leaves_out(self, path: Path) -> bool:
        """Tell whether a file is one of the results."""
        return any(map(path.is_relative_to, self.leave_out))

    @cached_property
    def files(self) -> dict[str, ImageFile]:
        """Files by id, sorted; two of one id are a problem."""
        suffixes = _suffixes()
        listed = list_files(
            self.root, (), root=self.root, allow=_FOLDER_OF_IMAGES, report=self.report
        ).others
        files: dict[str, ImageFile] = {}
        for path in map(Path, listed):
            if path.suffix.lower() not in suffixes or self.leaves_out(path):
                continue
            name = normalise(path.relative_to(self.root).as_posix())
            # Also those that labelme's converters write, such as SegmentationClassVisualization.
            if any(folder.startswith(_MASKS) for folder in name.split("/")[:-1]):
                continue
            if path.name in _CONVERTED and path.with_name(_CONVERTED_LIST).is_file():
                continue
            image_id = id_of(name)
            problem = id_problem(image_id)
            if problem:
                self.report(f"the name of {str(path)!r} {problem}; rename the file")
            elif image_id in files:
                self.report(
                    f"{files[image_id].path} and {path} would have the same id {image_id!r}; "
                    "rename one"
                )
            else:
                files[image_id] = ImageFile(image_id, name, path)
        return dict(sorted(files.items()))

    def find(self, names: Sequence[str], *, loose: bool = False) -> ImageFile | None:
        """Find the file that one of several names means; None if there is none.

        First the names are compared with paths below the root, then with file names, then with
        stems. ``loose`` compares letters and digits alone, last of all. ValueError if two files fit
        equally well.
        """
        # Behind a path a mere file name is no path: another folder's file may be meant.
        bare = {name for name in names if "/" not in name} if "/" in names[0] else set()
        for step, (table, key_of) in enumerate(self._steps[: None if loose else -1]):
            for name in names:
                if name in bare and step < _BY_PATH:
                    continue
                fitting = _closest(name, table.get(key_of(name), []))
                if len(fitting) > 1 and name not in bare:
                    fitting = [file for file in fitting if file.name in bare] or fitting
                if len(fitting) > 1:
                    raise ValueError(
                        f"image {name!r} may be {fitting[0].path} or {fitting[1].path}; rename "
                        "one, or give the folder of the images (--images)"
                    )
                if fitting:
                    self._note(names, fitting[0])
                    return fitting[0]
        return None

    def hint(self, name: str) -> str:
        """Say which file has the same name in other capitals, for a message."""
        wanted = _stem(name).casefold()
        others = (file.name for file in self.files.values())
        found = next((other for other in others if _stem(other).casefold() == wanted), None)
        return f" ({found!r} has other capitals)" if found else ""

    @cached_property
    def _steps(self) -> list[tuple[dict[str, list[ImageFile]], KeyOf]]:
        keys: list[tuple[KeyOf, KeyOf]] = [
            (lambda path: path, lambda name: name),
            (_without_suffix, lambda name: name),
            (id_of, id_of),
            (_base, _base),
            (_stem, _base),
            (_stem, _stem),
            (_letters, _letters),
        ]
        steps = []
        for key_of_path, key_of_name in keys:
            table: dict[str, list[ImageFile]] = defaultdict(list)
            for file in self.files.values():
                table[key_of_path(file.name)].append(file)
            steps.append((table, key_of_name))
        return steps

    def _note(self, names: Sequence[str], found: ImageFile) -> None:
        tails = (("/" + found.name).endswith("/" + name) for name in names)
        stems = (("/" + found.image_id).endswith("/" + id_of(name)) for name in names)
        if all("/" in name for name in names) and not (any(tails) or any(stems)):
            self.by_name_only.add(names[0])


def id_of(name: str) -> str:
    """Turn the path of an image into its id.

    >>> id_of("train/images/a.b.jpg")
    'train/a.b'
    """
    folders, _, file_name = name.rpartition("/")
    kept = [part for part in folders.split("/") if part and part not in _PLAIN]
    return "/".join([*kept, _without_suffix(file_name)])


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and "." + suffix.lower() in _suffixes() else name


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    return _without_suffix(_base(name))


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, _stem(name).casefold()))


def _closest(name: str, files: list[ImageFile]) -> list[ImageFile]:
    """Keep the files whose folders have most in common with those of a name, from the end."""

    def common(file: ImageFile) -> int:
        folders = zip(_folders(name), _folders(file.name), strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], folders)))

    if len(files) < 2:
        return files
    most = max(map(common, files))
    return [file for file in files if common(file) == most]


def _folders(name: str) -> list[str]:
    return name.split("/")[-2::-1]
