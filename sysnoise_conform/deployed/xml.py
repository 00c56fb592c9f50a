"""An XML file read without anything that a stranger could abuse: no DTD, no entities, bounded size and depth."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

MAX_DEPTH = 100
MAX_ELEMENTS = 1_000_000  # an IR has about 40 per layer
MAX_TEXT = 1 << 24  # characters between two tags


class XmlError(Exception):
    """What is wrong with the file, in words."""


def parse(data: bytes) -> Element:
    """The root element. Raises XmlError.

    Without a document type there are no entities, so nothing expands and nothing outside is read. UTF-8 alone: two
    parsers that guess an encoding need not guess the same one.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
        return reader.tree.close()
    except expat.ExpatError as err:
        raise XmlError(f"it is not well-formed XML ({err})") from err


class _Reader:
    def __init__(self) -> None:
        self.tree = TreeBuilder()
        self._depth = self._elements = self._text = 0
        self.parser = expat.ParserCreate("UTF-8")
        self.parser.XmlDeclHandler = self._declaration
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8", "us-ascii"):
            raise XmlError(f"it is encoded as {encoding}, not in UTF-8")

    def _doctype(self, *_: object) -> None:
        raise XmlError("it has a document type (DTD), which could define entities")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        self._text = 0
        if self._depth > MAX_DEPTH:
            raise XmlError(f"its elements nest deeper than {MAX_DEPTH}")
        if self._elements > MAX_ELEMENTS:
            raise XmlError(f"it has more than {MAX_ELEMENTS:,} elements")
        self.tree.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        self._text = 0
        self.tree.end(tag)

    def _characters(self, text: str) -> None:
        self._text += len(text)
        if self._text > MAX_TEXT:
            raise XmlError(f"it has more than {MAX_TEXT:,} characters between two tags")
        self.tree.data(text)
