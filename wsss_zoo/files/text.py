"""Lists and tables that users write: whatever program saved them, and what an id may be."""

import codecs
import unicodedata
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

# What a reader does with a problem in spite of which it can read on.
Report = Callable[[str], None]


def raise_problem(problem: str) -> None:
    """Raise a problem as a ValueError: the default of every reader."""
    raise ValueError(problem)


def read_text(path: Path) -> str:
    r"""Read the text of a file, with ``\n`` as line ends; ValueError if it is not UTF-8.

    UTF-8 with or without a byte-order mark, and UTF-16 with one; any system's line ends.
    """
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file "
            "with the encoding UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def normalise(text: str) -> str:
    r"""Strip a name and normalise it to the one form that equal names have (NFC).

    Some systems write an accented letter as two characters; in lists it may be one.

    >>> normalise(" Cafe\u0301 ") == "Caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text).strip()


def id_problem(image_id: str) -> str | None:
    """Say why an image id cannot be used; None if it can.

    >>> id_problem("2007/cat 1")
    >>> id_problem("../secret")
    'leads out of the data root'
    """
    parts = image_id.split("/")
    # Windows' paths take long to parse, and lists of ids are long.
    foreign = ":" in image_id or "\\" in image_id
    if "" in parts or ".." in parts or (foreign and PureWindowsPath(image_id).is_absolute()):
        return "leads out of the data root" if image_id else "is empty"
    if "\\" in image_id:
        return "has a backslash; sub-folders are separated by /"
    if "." in parts or not image_id.isprintable():
        return "has a part that is no plain name"
    return None
