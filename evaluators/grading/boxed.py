"""Finds answers in \\boxed{...}.

One pass without recursion: the time is linear in the length of the text, whatever its nesting.
"""

import re
from dataclasses import dataclass, replace

# A brace after a backslash is text and groups nothing: \boxed{\left\{1\right.} is closed.
_TOKEN = re.compile(r"\\\\|\\[{}]|\\boxed\s*\{|[{}]")
_BETWEEN = re.compile(r"(?:[\s$,;.()\[\]\\]|and|or|\\text\{\s*(?:and|or)\s*\})*")


def last_boxed(text: str) -> str | None:
    """The content of the last \\boxed{...} with balanced braces; None where there is none or it never closes."""
    boxes = _boxes(text)
    return text[boxes[-1].begin : boxes[-1].end].strip() if boxes else None


def last_boxes(text: str) -> str | None:
    """As `last_boxed`, with the boxes before it, if only commas or "and" are between them: `\\boxed{1}, \\boxed{2}`."""
    boxes = _boxes(text)
    together = boxes[-1:]
    for box in reversed(boxes[:-1]):
        last = together[-1]
        if not (box.end < last.start < box.end + 40 and _BETWEEN.fullmatch(text, box.end + 1, last.start)):
            break
        together.append(box)
    return ", ".join(text[box.begin : box.end].strip() for box in reversed(together)) if together else None


def without_boxed(text: str) -> str:
    """The text with the contents of its boxes removed."""
    pieces, at = [], 0
    for box in _boxes(text):
        if box.start >= at:  # Otherwise it is nested in a box whose content was removed.
            pieces.append(text[at : box.begin])
            at = box.end
    return "".join([*pieces, text[at:]])


@dataclass(frozen=True)
class _Box:
    """Where a box starts, and where its content begins and ends, which is at the closing brace."""

    start: int
    begin: int
    end: int = -1


def _boxes(text: str) -> list[_Box]:
    """The boxes in order; an empty list where the last one never closes."""
    found: dict[int, _Box] = {}
    opened: list[_Box | None] = []  # None for a brace without a box
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
    boxes = list(found.values())  # in the order of their starts
    return [box for box in boxes if box.end >= 0] if boxes and boxes[-1].end >= 0 else []
