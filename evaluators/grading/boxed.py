"""Final answers in \\boxed{...}: where they begin and end in a text.

One pass, without recursion, so that a text of any length and nesting is read in time that grows with its length only.
"""

import re
from dataclasses import dataclass, replace

# A brace after a backslash is printed, and groups nothing: \boxed{\left\{1\right.} closes.
_TOKEN = re.compile(r"\\\\|\\[{}]|\\boxed\s*\{|[{}]")
_BETWEEN = re.compile(r"(?:[\s$,;.()\[\]\\]|and|or|\\text\{\s*(?:and|or)\s*\})*")


def last_boxed(text: str) -> str | None:
    """What the last \\boxed{...} holds, its braces balanced; None where there is none or it never closes."""
    boxes = _boxes(text)
    return text[boxes[-1].begin : boxes[-1].end].strip() if boxes else None


def last_boxes(text: str) -> str | None:
    """As `last_boxed`, with the boxes before it that only commas and "and" stand between: `\\boxed{1}, \\boxed{2}`."""
    boxes = _boxes(text)
    together = boxes[-1:]
    for box in reversed(boxes[:-1]):
        last = together[-1]
        if not (box.end < last.start < box.end + 40 and _BETWEEN.fullmatch(text, box.end + 1, last.start)):
            break
        together.append(box)
    return ", ".join(text[box.begin : box.end].strip() for box in reversed(together)) if together else None


def without_boxed(text: str) -> str:
    """The text with nothing left in its boxes."""
    pieces, at = [], 0
    for box in _boxes(text):
        if box.start >= at:  # Else it is within one that was emptied.
            pieces.append(text[at : box.begin])
            at = box.end
    return "".join([*pieces, text[at:]])


@dataclass(frozen=True)
class _Box:
    """Where a box starts, and where what it holds begins and ends; the closing brace is at the end."""

    start: int
    begin: int
    end: int = -1


def _boxes(text: str) -> list[_Box]:
    """The boxes in order; none where the last one never closes."""
    found: dict[int, _Box] = {}
    opened: list[_Box | None] = []  # None for a brace that belongs to no box
    for token in _TOKEN.finditer(text):
        if token[0].startswith("\\boxed"):
            box = _Box(token.start(), token.end())
            opened.append(box)
            found[token.start()] = box
        elif token[0] == "{":
            opened.append(None)
        elif token[0] == "}" and opened:
            closed = opened.pop()
            if closed is not None:
                found[closed.start] = replace(closed, end=token.start())
    boxes = list(found.values())  # in the order in which they were opened
    return [box for box in boxes if box.end >= 0] if boxes and boxes[-1].end >= 0 else []
