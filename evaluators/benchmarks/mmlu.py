"""MMLU: multiple choice, answered by a single token.

Data set: cais/mmlu (Hendrycks et al. 2021). Metric: accuracy of the one answer letter, by subject: the generated token,
or the likeliest of the four letters. Protocol: zero-shot, chat, no reasoning, greedy, as in the off-model study
("single-token output"); the wording is our choice.
"""

from evaluators.grading.verdict import Verdict

VERSION = 1
HUB = ("cais/mmlu", "all", "test")
COLUMNS = ("question", "choices", "answer")
PROMPT = "{question}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\n\nAnswer with the letter of the correct choice only."
MAX_TOKENS = 1
LETTERS = ("A", "B", "C", "D")
LIBRARIES = ()
VOTES = True


def fields(row: dict) -> dict:
    return {**row, **dict(zip(LETTERS, row["choices"], strict=True))}


def check(row: dict) -> None:
    if len(row["choices"]) != len(LETTERS):
        raise ValueError(f"MMLU row {row['question']!r}: it has {len(row['choices'])} choices, not {len(LETTERS)}")
    if row["answer"] not in range(len(LETTERS)):
        raise ValueError(f"MMLU row {row['question']!r}: its answer is {row['answer']!r}, not the number of a choice")


def grade(row: dict, text: str) -> Verdict:
    letter = text.strip()
    found = letter in LETTERS
    return Verdict(score=float(letter == LETTERS[row["answer"]]), parsed=found, answer=letter if found else None)


def group(row: dict) -> dict:
    return {"subject": row["subject"]} if "subject" in row else {}
