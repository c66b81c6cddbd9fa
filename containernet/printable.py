"""What others have named, made fit to be printed.

Names and reasons come from stores that others write to. On a terminal an escape sequence among them would move
the cursor, and in a log a line end would begin a line that nobody has logged.
"""

from __future__ import annotations


def printable(text: object) -> str:
    """Return `text` as one line in which whatever has no glyph is written as Python would escape it."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else _escaped(each) for each in line)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
