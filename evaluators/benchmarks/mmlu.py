"""MMLU: multiple choice, answered by a single token.

Data set: cais/mmlu (Hendrycks et al. 2021). Metric: accuracy of the one generated token, read as a letter. Protocol:
zero-shot, chat, no reasoning, greedy, as in the off-model study ("single-token output"); the wording is our choice.
"""

from evaluators.verdict import Verdict

HUB = ("cais/mmlu", "all", "test")
COLUMNS = ("question", "choices", "answer")
PROMPT = "{question}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\n\nAnswer with the letter of the correct choice only."
MAX_TOKENS = 1
LETTERS = "ABCD"


def fields(row: dict) -> dict:
    if len(row["choices"]) != len(LETTERS):
        raise ValueError(f"MMLU row {row['question']!r}: it has {len(row['choices'])} choices, not {len(LETTERS)}")
    return {**row, **dict(zip(LETTERS, row["choices"], strict=True))}


def grade(row: dict, text: str) -> Verdict:
    letter = text.strip()
    return Verdict(letter == LETTERS[row["answer"]], letter in tuple(LETTERS))


def group(row: dict) -> dict:
    return {}
