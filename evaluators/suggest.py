"""Suggests the nearest known names in messages about unknown ones."""

import difflib
from collections.abc import Iterable

MOST = 40  # names in a message


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or a list of the known names if none is similar."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    others = f" and {len(known) - MOST} others" if len(known) > MOST else ""
    return f"known are {', '.join(known[:MOST]) or 'none'}{others}"
