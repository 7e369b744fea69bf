"""OlympiadBench: olympiad problems with open-ended answers (text only, maths, English).

Data set: Hothan/OlympiadBench, configuration OE_TO_maths_en_COMP (He et al. 2024). Metric: accuracy of the last
\\boxed{} answer; a problem with several answers needs each of them, in any order, separated by commas. Protocol:
zero-shot, chat, greedy; the prompt's sentence is our choice. Tolerances (`error`) and units are not read yet.
"""

from evaluators.boxed import equivalent, last_boxed, split_answers
from evaluators.verdict import Verdict

HUB = ("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train")
COLUMNS = ("question", "final_answer", "is_multiple_answer")
PROMPT = "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
MAX_TOKENS = 8192


def fields(row: dict) -> dict:
    return row


def grade(row: dict, text: str) -> Verdict:
    answer = last_boxed(text)
    if answer is None:
        return Verdict(False, False)
    if not row["is_multiple_answer"]:
        return Verdict(equivalent(row["final_answer"][0].strip().strip("$"), answer), True)
    # The data set writes several answers into one text.
    gold = [one for text in row["final_answer"] for one in split_answers(text.strip().strip("$"))]
    given = split_answers(answer)
    for one in gold:
        match = next((g for g in given if equivalent(one, g)), None)
        if match is None:
            return Verdict(False, True)
        given.remove(match)
    return Verdict(not given, True)


def group(row: dict) -> dict:
    return {}
