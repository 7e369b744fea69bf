"""Answers to test a grader with, built from the rows of a mathematics benchmark.

They are the rows' own solutions, gold answers in other wordings, perturbed answers, truncated solutions and answers
with two boxes. A row has the columns of MATH-500 or of OlympiadBench on the Hugging Face hub.
"""

import re
from collections.abc import Callable
from fractions import Fraction


def gold_answer(row: dict) -> str:
    """The gold answer of a row, as one text."""
    return row["answer"] if "answer" in row else ", ".join(row["final_answer"])


def boxed(answer: str) -> str:
    """An answer in the sentence that lm-eval's minerva_math asks for."""
    return f"Final Answer: The final answer is $\\boxed{{{answer}}}$. I hope it is correct."


_NUMBER = re.compile(r"\d+")
_PAIR = re.compile(r"([(\[])([^,()\[\]]+),([^,()\[\]]+)([)\]])")
_WORD = re.compile(r"\\text\{\(?([A-Za-z]+)\)?\}")
_LETTER = re.compile(r"(?<![\\a-zA-Z{])[a-zA-Z](?![a-zA-Z{(=])")


def perturbed(gold: str) -> list[str]:
    """Wrong answers made of a gold answer: ends swapped, another sign, number, bracket, word or letter."""
    name, equals, value = gold.rpartition("=")
    ways = [_swapped, _other_sign, _other_number, _other_first_number, _other_bracket, _other_word, _other_letter]
    made = [name + equals + other for way in ways for other in way(value)]
    return [other for other in dict.fromkeys(made) if other != gold]


def _swapped(value: str) -> list[str]:
    value = value.replace("\\left", "").replace("\\right", "")
    pair = _PAIR.search(value)
    if not pair or pair[2].strip() == pair[3].strip():
        return []
    return [value[: pair.start()] + f"{pair[1]}{pair[3]},{pair[2]}{pair[4]}" + value[pair.end() :]]


def _other_sign(value: str) -> list[str]:
    body = re.fullmatch(r"((?:[\s$(\[]|\\[\[({$]|\\left|\\quad|[a-z] ?\\in)*)(-?)(.*)", value, re.DOTALL)
    if body is None or not body[3] or body[3][:2] == "0" or re.match(r"0\b|\\text|\\infty|\\begin|[a-z] ?\(", body[3]):
        return []
    return [body[1] + ("" if body[2] else "-") + body[3]]


def _other_number(value: str) -> list[str]:
    numbers = list(_NUMBER.finditer(value))
    return [_with(value, numbers[-1], str(int(numbers[-1][0]) + 1).zfill(len(numbers[-1][0])))] if numbers else []


def _other_first_number(value: str) -> list[str]:
    number = _NUMBER.search(value)
    return [_with(value, number, str(int(number[0]) + 10))] if number and value[: number.start()][-1:] != "." else []


def _other_bracket(value: str) -> list[str]:
    pair = _PAIR.fullmatch(value.strip("$ "))
    return [f"{'([)]'['[('.index(pair[1])]}{pair[2]},{pair[3]}{pair[4]}"] if pair else []


def _other_word(value: str) -> list[str]:
    word = _WORD.search(value)
    return [value.replace(word[1], "A" if word[1] > "B" else "Z")] if word else []


def _other_letter(value: str) -> list[str]:
    letter = _LETTER.search(value)
    return [_with(value, letter, f"({letter[0]}+1)")] if letter and letter[0] != "i" else []


def _with(text: str, match: re.Match, instead: str) -> str:
    return text[: match.start()] + instead + text[match.end() :]


def _decimal(gold: str) -> str:
    fraction = re.fullmatch(r"(-?)\\[dt]?frac ?\{?(\d+?)\}? ?\{?(\d+)\}?", gold)
    if not fraction:
        return f"{gold}.0" if gold.isdigit() else gold.replace(" ", "")
    value = Fraction(int(fraction[2]), int(fraction[3]))
    return fraction[1] + f"{float(value):.6f}".rstrip("0")


WORDINGS: dict[str, Callable[[str], str]] = {
    "lm-eval's sentence": boxed,
    "the box alone": lambda gold: f"\\boxed{{{gold}}}",
    "display mathematics": lambda gold: f"So we have\n\\[\n\\boxed{{{gold}}}\n\\]",
    "\\dfrac": lambda gold: boxed(re.sub(r"\\frac(?![a-z])", r"\\dfrac", gold)),
    "a/b": lambda gold: boxed(re.sub(r"(?<![\d ])\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", gold)),
    "decimals": lambda gold: boxed(_decimal(gold)),
    "dollars in the box": lambda gold: f"It is \\boxed{{${gold}$}}.",
    "a name": lambda gold: boxed(gold if "=" in gold or "\\in " in gold else f"x = {gold}"),
    "a unit": lambda gold: boxed(gold if "\\text" in gold else f"{gold} \\text{{ units}}"),
    "blanks and a full stop": lambda gold: boxed(f"  {gold} . "),
}


def answers(rows: list[dict]) -> list[tuple[dict, str, str]]:
    """(row, kind of answer, answer) for all rows and kinds, the same in each call.

    Rows without a text solution have no answers of the kinds that need one.
    """
    made = []
    for i, row in enumerate(rows):
        gold, other = gold_answer(row), rows[(i * 7 + 3) % len(rows)]
        made += [(row, kind, wording(gold)) for kind, wording in WORDINGS.items()]
        wrong = perturbed(gold)
        made += [(row, "perturbed", boxed(wrong[n % len(wrong)])) for n in range(3)]
        made += [
            (row, "another row's answer", boxed(gold_answer(other))),
            (row, "two boxes, the last right", f"{boxed(wrong[0])} No, that is wrong. Once more: {boxed(gold)}"),
            (row, "two boxes, the last wrong", f"{boxed(gold)} No, that is wrong. Once more: {boxed(wrong[0])}"),
            (row, "no box", f"Final Answer: The final answer is ${gold}$. I hope it is correct."),
        ]
        solution = row["solution"]
        if isinstance(solution, str):
            made += [
                (row, "its solution", solution),
                (row, "another row's solution", other["solution"]),
                (row, "truncated", solution[: solution.rfind("\\boxed{") + 7 + i % 2]),
            ]
    return made
