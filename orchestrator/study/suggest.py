"""Names the nearest of some words, for messages about misspelt ones."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or the list of all that is known where nothing is near."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known) or 'none'}"
