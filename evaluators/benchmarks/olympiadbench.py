"""OlympiadBench: olympiad problems with open-ended answers (text only, maths, English).

Data set: Hothan/OlympiadBench, configuration OE_TO_maths_en_COMP (He et al. 2024). Metric: accuracy of the last
\\boxed{} answer by math-verify, by subfield; a problem with several answers needs each of them, in any order, separated
by commas or in one box each. `error` is an absolute tolerance, and `unit` may be omitted, as in the data set's own
grader (eval/auto_scoring_judge.py). Differences from that grader: math-verify decides equivalence; a number does not
equal its hundredfold or hundredth, unless it has a percent sign; the parts of a union have no order; without `error`,
decimals count to six places, not to eight. Protocol: zero-shot, chat, greedy; the instruction in the prompt is our
choice.
"""

from evaluators.grading import maths
from evaluators.grading.verdict import Verdict

VERSION = 1
HUB = ("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train")
ROWS = 675
COLUMNS = {"question": str, "final_answer": list[str], "is_multiple_answer": bool}
PROMPT = "{question}\n\n" + maths.INSTRUCTION
MAX_TOKENS = 8192
LIBRARIES = maths.LIBRARIES
VOTES = True


def gold(row: dict) -> maths.Gold:
    error, unit = row.get("error"), str(row.get("unit") or "")
    percent = "\\%" if unit == "%" else ""
    return maths.Gold(
        # The data set joins several answers in one text.
        ", ".join(answer + percent for answer in row["final_answer"]),
        several=row["is_multiple_answer"],
        unit=unit,
        tolerance=float(error) if error else None,
    )


def check(row: dict) -> None:
    name = f"row {row.get('id', row['question'])!r:.200}"
    try:
        answer = gold(row)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: its error {row['error']!r:.200} is not a number") from error
    maths.check(answer, name)


def grade(row: dict, text: str) -> Verdict:
    return maths.grade(gold(row), text)


def group(row: dict) -> dict:
    return {"subfield": row["subfield"]} if row.get("subfield") else {}
