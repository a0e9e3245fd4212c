"""XML from anyone: elements with their lines, and nothing that a document type could add to them.

Without a document type there are no entities but those of characters, so a file can neither grow while it is read nor
name other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

from attrs import define, field

from vidcore.errors import AnnotationError, UserError

__all__ = ["Element", "parse_xml"]

DEEPEST = 100
"""Levels of elements; annotations have ten at most."""
LONGEST = 1 << 16
"""Characters between two tags; annotations have names and numbers there."""


@define
class Element:
    """An element of a file."""

    where: str
    """The file, and the line on which the element begins."""
    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(factory=list)
    text: str = ""

    def all(self, *tags: str) -> Iterator[Element]:
        """Children with one of these names, in order."""
        return (child for child in self.children if child.tag in tags)

    def first(self, *path: str) -> Element | None:
        """The first element along a path of names, or None."""
        found: Element | None = self
        for tag in path:
            found = next(found.all(tag), None) if found else None
        return found

    def value(self, *path: str) -> str:
        """The text along a path of names, without blanks at its ends; empty if there is none."""
        found = self.first(*path)
        return found.text.strip() if found else ""

    def needed(self, *path: str) -> str:
        """The text along a path of names. Raises ``AnnotationError`` if there is none."""
        if not (text := self.value(*path)):
            raise AnnotationError(f"{self.where}: <{self.tag}> needs <{'><'.join(path)}>")
        return text

    def attribute(self, name: str) -> str:
        """The value of an attribute. Raises ``AnnotationError`` if it is missing."""
        try:
            return self.attributes[name]
        except KeyError:
            found = ", ".join(self.attributes) or "none"
            raise AnnotationError(f"{self.where}: <{self.tag}> needs the attribute {name!r}, found {found}") from None

    def below(self) -> Iterator[Element]:
        """This element and all within it."""
        yield self
        for child in self.children:
            yield from child.below()


def parse_xml(name: str, content: bytes) -> Element:
    """Return the outermost element of an XML file.

    Raises ``AnnotationError``, with file and line, if it is not XML, has a document type or is nested too deeply.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    top = Element(name, "", {})
    path = [top]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(path) > DEEPEST:
            raise AnnotationError(f"{name}:{parser.CurrentLineNumber}: is nested too deeply")
        element = Element(f"{name}:{parser.CurrentLineNumber}", tag, attributes)
        path[-1].children.append(element)
        path.append(element)

    def end(_: str) -> None:
        path.pop()

    def characters(text: str) -> None:
        if not text.isspace():
            path[-1].text += text
        if len(path[-1].text) > LONGEST:
            raise AnnotationError(f"{path[-1].where}: <{path[-1].tag}> has more than {LONGEST:,} characters of text")

    def refuse(*_: object) -> None:
        raise AnnotationError(f"{name}:{parser.CurrentLineNumber}: has a document type, which annotations do not need")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except UserError:
        raise
    except expat.ExpatError as error:
        raise AnnotationError(f"{name}:{error.lineno}: is not XML: {expat.ErrorString(error.code)}") from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or of several bytes
        raise AnnotationError(f"{name}:1: its encoding cannot be read: {error}") from None
    return top.children[0]
