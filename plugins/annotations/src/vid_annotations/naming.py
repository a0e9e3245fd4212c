"""Which word of a tool is the action, and which one is the person."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from vid_annotations.table import Annotations, Description
from vidcore.errors import DataError, nearest, some

__all__ = ["Naming"]

ATTRIBUTE = "attribute:"
OWN = ("action", "actions")
"""Names of the attribute that has the action, if nothing else is asked for."""


@frozen
class Naming:
    """Where actions and persons stand."""

    actions: tuple[str | None, ...]
    """Names of attributes; None: the label."""
    person: str | None = None
    """Name of an attribute; None: the track."""
    alone: bool = False
    """Nobody is known again at another moment."""

    @classmethod
    def of(cls, found: Annotations, action_from: Sequence[str] = (), person_from: str = "track") -> Naming:
        """Return what is asked for; of actions, default: what the annotations make clear.

        Args:
            found: the annotations.
            action_from: ``label`` or ``attribute:NAME``, one or several; default: the attribute ``action`` or
                ``actions``, else labels. One label and further attributes do not make it clear.
            person_from: ``track``, ``none`` or ``attribute:NAME``.

        Raises:
            DataError: no box or segment has that attribute, or it is not clear what the action is.
        """
        abouts = [*(shape.about for shape in found.shapes), *(span.about for span in found.spans)]
        names = dict.fromkeys(name for about in abouts for name in about.attributes)
        labels = dict.fromkeys(label for about in abouts for label in about.labels)
        actions = tuple(_attribute("--action-from", text, "label", names) for text in action_from)
        person = None if person_from == "none" else _attribute("--person-from", person_from, "track", names)
        if not actions:
            own = [name for name in names if name.lower() in OWN]
            others = [name for name in names if name != person]
            if own:
                actions = tuple(own)
            elif labels and (len(labels) > 1 or not others):
                actions = (None,)
            elif not labels and len(others) == 1:
                actions = (others[0],)
            elif abouts and (labels or others):
                ways = ["label"] * bool(labels) + [f"attribute:{name}" for name in others]
                means = f"every label is {next(iter(labels))!r}" if labels else "nothing has a label"
                raise DataError(
                    f"{found.tool}: {means}, and there are the attributes {some(others)}: say what the action is with "
                    f"--action-from, which can be repeated: {some([repr(way) for way in ways])}"
                )
        return cls(actions or (None,), person, person_from == "none")

    def actions_of(self, about: Description) -> tuple[str, ...] | None:
        """Return the actions of a box or segment; None if it is of another kind, without these attributes."""
        if not any(name is None or name in about.attributes for name in self.actions):
            return None
        words = (about.labels if name is None else about.attributes.get(name, ()) for name in self.actions)
        return tuple(dict.fromkeys(word for group in words for word in group))

    def person_of(self, about: Description, track: str | None) -> str:
        """Return who a box is, empty if that is not known."""
        if self.alone:
            return ""
        if self.person is None:
            return track or ""
        return "+".join(about.attributes.get(self.person, ()))

    def __str__(self) -> str:
        return " and ".join("labels" if name is None else f"attribute {name!r}" for name in self.actions)


def _attribute(option: str, text: str, other: str, names: dict[str, None]) -> str | None:
    """The attribute that an option names, None if it names what is not an attribute."""
    if text == other:
        return None
    if not text.startswith(ATTRIBUTE):
        raise DataError(f"{option} {text}: must be {other} or attribute:NAME")
    name = text.removeprefix(ATTRIBUTE)
    if name not in names:
        listed = f"; attributes are {some(list(names))}" if names else "; there are no attributes"
        raise DataError(f"{option} {text}: nothing has that attribute{nearest(name, names) or listed}")
    return name
