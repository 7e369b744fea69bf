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
COLUMNS = ("problem", "answer", "level")
PROMPT = "{problem}\n\n" + maths.INSTRUCTION
MAX_TOKENS = 4096
LIBRARIES = maths.LIBRARIES
VOTES = True


def gold(row: dict) -> maths.Gold:
    return maths.Gold(row["answer"])


def check(row: dict) -> None:
    maths.check(gold(row), f"row {row.get('unique_id', row['problem'])!r:.200}")


def grade(row: dict, text: str) -> Verdict:
    return maths.grade(gold(row), text)


def group(row: dict) -> dict:
    return {"level": int(row["level"]), **({"subject": row["subject"]} if "subject" in row else {})}
