"""Suggests the nearest known names in messages about unknown ones."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or a list of all known names if none is similar."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known) or 'none'}"
