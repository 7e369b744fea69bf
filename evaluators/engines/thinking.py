"""Where the reasoning of a completion ends and its final answer begins, in its text and in its tokens."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

END, BEGIN = "</think>", "<think>"


def strip_reasoning(text: str, prompt_opens_think_block: bool) -> str:
    """The completion after its last `</think>`.

    A think block that never closes leaves an empty text, whether the completion or the prompt opened it.
    """
    _, end, after = text.rpartition(END)
    if end:
        return after.lstrip()
    return "" if prompt_opens_think_block or BEGIN in text else text


def answer_start(text: str) -> int | None:
    """The character at which the final answer begins: after the last `</think>`, else at the last box; else None."""
    at = text.rfind(END)
    if at >= 0:
        return at + len(END)
    at = text.rfind("\\boxed")
    return at if at >= 0 else None


def token_at(ids: Sequence[int], character: int, decode: Callable[[Sequence[int]], str]) -> int:
    """The index of the token that holds this character of the decoded text."""
    return bisect_left(range(len(ids)), character + 1, key=lambda i: len(decode(ids[: i + 1])))
