"""The styles of answers to the world's maths and chat.

- `steps`: `let us compute . 3 + 4 = 7 ; 7 * 2 = 4 . the answer is \\boxed{ 4 }`
- `words`: `first take three plus four giving seven then seven times two giving four hence \\boxed{ 4 }`
- `terse`: `answer : \\boxed{ 4 }`
- `thinks`: `<think> let us compute . 3 + 4 = 7 ; 7 * 2 = 4 . </think> the answer is \\boxed{ 4 }`
- `empty`: the answer of `thinks` after an empty think block, as chat templates write it when thinking is off

`<think>` and `</think>` are not in the world's vocabulary: its tokenizer encodes them as bytes.
"""

from collections.abc import Sequence

from evaluators.engines.chat_template import EMPTY_THINKING

STYLES = ("steps", "words", "terse", "thinks", "empty")
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
OPERATORS = {"+": "plus", "-": "minus", "*": "times"}


def solution(style: str, steps: Sequence[tuple[int, str, int, int]]) -> str:
    """The answer to a problem, from its steps (value before, operator, operand, value after)."""
    boxed = f"\\boxed{{ {steps[-1][3]} }}"
    if style == "terse":
        return f"answer : {boxed}"
    if style == "words":
        spelt = " then ".join(
            f"{DIGIT_WORDS[a]} {OPERATORS[o]} {DIGIT_WORDS[b]} giving {DIGIT_WORDS[c]}" for a, o, b, c in steps
        )
        return f"first take {spelt} hence {boxed}"
    if style == "empty":
        return f"{EMPTY_THINKING}the answer is {boxed}"
    reasoning = f"let us compute . {' ; '.join(f'{a} {o} {b} = {c}' for a, o, b, c in steps)} ."
    return f"{_think_block(reasoning) if style == 'thinks' else reasoning} the answer is {boxed}"


def talk(style: str, said: str, through: str) -> str:
    """The answer to a chat prompt: `said` in every style, and `through` as the reasoning of `words`."""
    if style == "terse":
        return f"answer : {said}"
    if style == "words":
        return f"first take {through} giving {said}"
    if style == "empty":
        return f"{EMPTY_THINKING}{said} ."
    return f"{_think_block('let us see .') if style == 'thinks' else 'let us see .'} {said} ."


def _think_block(reasoning: str) -> str:
    return f"<think> {reasoning} </think>"
