"""MMLU: multiple choice, answered with a single token.

Data set: cais/mmlu (Hendrycks et al. 2021). Metric: accuracy of the answer letter, by subject: the generated token, or
the letter with the highest log-probability. Protocol: zero-shot, chat, no reasoning, greedy, as in the off-model study
("single-token output"); the prompt is our choice.
"""

from evaluators.grading.verdict import Verdict

VERSION = 1
HUB = ("cais/mmlu", "all", "test")
ROWS = 14_042
COLUMNS = {"question": str, "choices": list[str], "answer": int}
PROMPT = "{question}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\n\nAnswer with the letter of the correct choice only."
MAX_TOKENS = 1
OPTIONS = ("A", "B", "C", "D")
VOTES = True


def fields(row: dict) -> dict:
    return {**row, **dict(zip(OPTIONS, row["choices"], strict=True))}


def check(row: dict) -> None:
    if len(row["choices"]) != len(OPTIONS):
        raise ValueError(
            f"MMLU row {row['question']!r:.200}: it has {len(row['choices'])} choices instead of {len(OPTIONS)}"
        )
    if row["answer"] not in range(len(OPTIONS)):
        raise ValueError(
            f"MMLU row {row['question']!r:.200}: its answer is {row['answer']!r:.200}, not the index of a choice"
        )


def grade(row: dict, text: str) -> Verdict:
    letter = text.strip()
    parsed = letter in OPTIONS
    return Verdict(score=float(letter == OPTIONS[row["answer"]]), parsed=parsed, answer=letter if parsed else None)


def group(row: dict) -> dict:
    return {"subject": row["subject"]} if "subject" in row else {}
