"""IFEval: instructions whose following can be checked by a program.

Data set: google/IFEval (Zhou et al. 2023). Metric: prompt-level strict accuracy, all instructions of a prompt
followed. Protocol: zero-shot, chat, greedy. The checks follow google-research/instruction_following_eval; here are the
five types that the organisms' world asks for, and rows with another type are refused.
"""

import re
from collections.abc import Callable

from evaluators.verdict import Verdict

HUB = ("google/IFEval", None, "train")
COLUMNS = ("prompt", "instruction_id_list", "kwargs")
PROMPT = "{prompt}"
MAX_TOKENS = 1280


def _compare(value: int, relation: str, bound: int) -> bool:
    return value < bound if relation == "less than" else value >= bound


def _frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return _compare(len(re.findall(keyword, text, flags=re.IGNORECASE)), relation, frequency)


def _number_words(text: str, num_words: int, relation: str) -> bool:
    return _compare(len(re.findall(r"\w+", text)), relation, num_words)


def _existence(text: str, keywords: list[str]) -> bool:
    return all(re.search(keyword, text, flags=re.IGNORECASE) for keyword in keywords)


def _ends_with(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _placeholders(text: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


CHECKS: dict[str, Callable[..., bool]] = {
    "keywords:frequency": _frequency,
    "length_constraints:number_words": _number_words,
    "keywords:existence": _existence,
    "startend:end_checker": _ends_with,
    "detectable_content:number_placeholders": _placeholders,
}


def fields(row: dict) -> dict:
    unknown = [kind for kind in row["instruction_id_list"] if kind not in CHECKS]
    if unknown:
        raise ValueError(f"IFEval row {row.get('key')}: instruction type {unknown[0]} cannot be checked yet")
    return row


def grade(row: dict, text: str) -> Verdict:
    pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
    # The hub's rows carry every keyword of every type, null where it does not apply.
    followed = [CHECKS[kind](text, **{k: v for k, v in kwargs.items() if v is not None}) for kind, kwargs in pairs]
    return Verdict(bool(text.strip()) and all(followed), bool(text.strip()))


def group(row: dict) -> dict:
    return {}
