"""MATH-500: competition problems of five levels with open-ended answers.

Data set: HuggingFaceH4/MATH-500 (500 problems of MATH, Hendrycks et al. 2021, selected by Lightman et al. 2023).
Metric: accuracy of the last \\boxed{} answer by math-verify, by level and subject. Protocol: zero-shot, chat, greedy;
the instruction in the prompt is our choice. `docs/grading.md` compares the grading with lm-eval's.
"""

from evaluators.grading import maths
from evaluators.grading.verdict import Verdict

VERSION = 1
HUB = ("HuggingFaceH4/MATH-500", None, "test")
ROWS = 500
COLUMNS = {"problem": str, "answer": str}
PROMPT = "{problem}\n\n" + maths.INSTRUCTION
MAX_TOKENS = 4096
LIBRARIES = maths.LIBRARIES
VOTES = True


def gold(row: dict) -> maths.Gold:
    return maths.Gold(row["answer"])


def check(row: dict) -> None:
    name = f"row {row.get('unique_id', row['problem'])!r:.200}"
    maths.check(gold(row), name)
    try:
        group(row)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: its level {row['level']!r:.200} is not a whole number, as 3") from error


def grade(row: dict, text: str) -> Verdict:
    return maths.grade(gold(row), text)


def group(row: dict) -> dict:
    level = {} if row.get("level") is None else {"level": int(row["level"])}
    return {**level, **({"subject": row["subject"]} if "subject" in row else {})}
