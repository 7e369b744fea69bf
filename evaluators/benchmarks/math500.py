"""MATH-500: competition problems of five levels, answered in the open.

Data set: HuggingFaceH4/MATH-500 (500 problems of MATH, Hendrycks et al. 2021, chosen by Lightman et al. 2023).
Metric: accuracy of the last \\boxed{} answer, by level. Protocol: zero-shot, chat, greedy; the prompt's sentence on
reasoning and boxing is our choice.
"""

from evaluators.boxed import equivalent, last_boxed
from evaluators.verdict import Verdict

HUB = ("HuggingFaceH4/MATH-500", None, "test")
COLUMNS = ("problem", "answer", "level")
PROMPT = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
MAX_TOKENS = 4096


def fields(row: dict) -> dict:
    return row


def grade(row: dict, text: str) -> Verdict:
    answer = last_boxed(text)
    return Verdict(answer is not None and equivalent(row["answer"], answer), answer is not None)


def group(row: dict) -> dict:
    return {"level": int(row["level"])}
