"""XML of unknown origin, read without its document type, which could expand without end."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 16  # bytes
_DEEPEST = 50


class _Builder:
    """Builds the children of the root, one after the other; refuses a document type."""

    def __init__(self) -> None:
        self.root: ET.Element | None = None
        self.done: list[ET.Element] = []
        self._open: list[ET.Element] = []

    def doctype(self, *_: object) -> None:
        raise ValueError("it has a DOCTYPE, which annotation tools do not write; delete that line")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        element = ET.Element(tag, attributes)
        if len(self._open) >= _DEEPEST:
            raise ValueError(f"its elements are nested more than {_DEEPEST} deep")
        if len(self._open) > 1:
            self._open[-1].append(element)
        self.root = self.root if self._open else element
        self._open.append(element)

    def end(self, tag: str) -> None:
        element = self._open.pop()
        if len(self._open) == 1:
            self.done.append(element)

    def data(self, text: str) -> None:
        element = self._open[-1]
        if len(element):
            return  # blanks between elements
        element.text = (element.text or "") + text

    def close(self) -> None:
        pass


def read_children(path: Path) -> Iterator[tuple[str, ET.Element]]:
    """Read the children of the root one after the other, each with the tag of the root.

    ValueError that names the file if it is no XML, or has a document type.
    """
    builder = _Builder()
    parser = ET.XMLParser(target=builder)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                parser.feed(chunk)
                done, builder.done = builder.done, []
                root = "" if builder.root is None else builder.root.tag
                yield from ((root, element) for element in done)
            parser.close()
    except ET.ParseError as error:
        raise ValueError(f"it is no XML ({error}); export it again") from None
    yield from ((builder.root.tag, element) for element in builder.done if builder.root is not None)


def root_tag(path: Path) -> str:
    """Read the name of the root; "" if the file is no XML."""
    builder = _Builder()
    parser = ET.XMLParser(target=builder)
    try:
        with path.open("rb") as file:
            while builder.root is None and (chunk := file.read(_CHUNK)):
                parser.feed(chunk)
    except (ET.ParseError, ValueError):
        pass
    return "" if builder.root is None else builder.root.tag
