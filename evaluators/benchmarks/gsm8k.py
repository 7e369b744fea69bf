"""GSM8K: word problems of arithmetic for grade school.

Data set: openai/gsm8k, configuration main (Cobbe et al. 2021, arXiv:2110.14168). Metric: whether the last number of the
completion is the answer, as by the filter `flexible-extract` of lm-eval's task `gsm8k`. Departures from that filter:

- numbers are compared by value, so that 18.00 is 18;
- a number has a digit, so that a final ellipsis is none;
- a comma separates thousands only before three digits, so that "3,4" ends in 4;
- a minus sign after a digit or a letter is none, so that "10-4" ends in 4;
- currency signs other than $, the minus sign of typography and LaTeX's separators of thousands are read.

Protocol: zero-shot, chat, greedy; the instruction in the prompt is our choice. lm-eval's task has five examples that
end in "####".
"""

import re
from decimal import Decimal

from evaluators.grading.verdict import Verdict

VERSION = 1
HUB = ("openai/gsm8k", "main", "test")
TRAIN = "train"
ROWS = 1_319
COLUMNS = {"question": str, "answer": str}
PROMPT = "{question}\n\nPlease reason step by step, and end with the final answer as a number."
MAX_TOKENS = 2048
VOTES = True

_CURRENCY = r"(?:\\?[$€£¥])?"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![0-9A-Za-z])[-−])?{_CURRENCY}(?P<late>(?<=[$€£¥])[-−])?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)"
)
_LATEX_SEPARATOR = re.compile(r"(?<=[0-9])(?:\{,\}|\\[,!])(?=[0-9]{3}(?![0-9]))")


def last_number(text: str) -> Decimal | None:
    """The last number of a text; None if it has none."""
    found = list(_NUMBER.finditer(_LATEX_SEPARATOR.sub(",", text)))
    if not found:
        return None
    value = Decimal(found[-1]["digits"].replace(",", ""))
    return value.copy_negate() if found[-1]["sign"] or found[-1]["late"] else value  # Not rounded, as -value would be.


def gold(row: dict) -> Decimal | None:
    """The number after the last "####" of a row's answer; None if there is no such number."""
    _, mark, answer = row["answer"].rpartition("####")
    return last_number(answer) if mark else None


def check(row: dict) -> None:
    name = f"row {row['question']!r:.200}"
    if gold(row) is None:
        raise ValueError(f'{name}: its answer {row["answer"]!r:.200} does not end in a number after "####", as #### 42')
    try:
        group(row)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: its level {row['level']!r:.200} is not a whole number, as 3") from error


def grade(row: dict, text: str) -> Verdict:
    number = last_number(text)
    if number is None:
        return Verdict(score=0.0, parsed=False)
    answer = f"{number:f}" if number else "0"
    if "." in answer:
        answer = answer.rstrip("0").rstrip(".")  # Equal numbers are one answer in a vote.
    return Verdict(score=float(number == gold(row)), parsed=True, answer=answer)


def group(row: dict) -> dict:
    return {} if row.get("level") is None else {"level": int(row["level"])}
