"""What a reasoning model says aloud, and where its reasoning ends."""

END, BEGIN = "</think>", "<think>"


def strip_reasoning(text: str, prompt_opens_think_block: bool) -> str:
    """The answer without its reasoning: what follows the last `</think>`.

    A reasoning that never ends leaves no answer: one that was begun in the text, or, where it `prompt_opens_think_block`, by the prompt.
    """
    _, end, after = text.rpartition(END)
    if end:
        return after.lstrip()
    return "" if prompt_opens_think_block or BEGIN in text else text


def final_from(text: str) -> int | None:
    """The character at which the final answer begins: after the last `</think>`, else at the last box; else None."""
    at = text.rfind(END)
    if at >= 0:
        return at + len(END)
    at = text.rfind("\\boxed")
    return at if at >= 0 else None
