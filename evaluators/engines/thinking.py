"""Where the reasoning of a completion ends and its final answer begins."""

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
