"""IFEval: instructions whose following can be checked by a program.

Data set: google/IFEval (Zhou et al. 2023), 25 types of instructions. Metric: prompt-level strict accuracy, all
instructions of a prompt followed; `figures` has the other three as well. Loosely, an instruction is also followed if
the answer without its first line, its last line, both, or its asterisks follows it. Protocol: zero-shot, chat, greedy,
as lm-eval's task `ifeval`, whose checkers these are. Three departures, each where lm-eval's own verdict is random or
an error: a fixed seed for langdetect, symbols counted as themselves, and JSON nested too deep to read
(docs/ifeval.md).
"""

import logging
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from statistics import fmean
from threading import Lock
from typing import Any

from evaluators.grading.verdict import Verdict

VERSION = 1
HUB = ("google/IFEval", None, "train")
COLUMNS = ("prompt", "instruction_id_list", "kwargs")
PROMPT = "{prompt}"
MAX_TOKENS = 1280
LIBRARIES = ("lm_eval", "langdetect", "nltk")
VOTES = False

_loading = Lock()


@cache
def _types() -> dict[str, Any]:
    """lm-eval's checkers by instruction type. Loaded here, as they bring NLTK and a second or two with them."""
    import nltk
    from langdetect import detector_factory

    with _loading:  # Neither the patch nor langdetect's profiles can be loaded by two threads at a time.
        find = nltk.data.find
        # Imported without NLTK's punkt_tab, the checkers would download it and say so. Whether it is there is for
        # `check` to say, and only of rows that need it; here the import is told that it is.
        nltk.data.find = lambda *_: ""
        try:
            from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
        finally:
            nltk.data.find = find
        # langdetect samples from the text, and unseeded it may see another language in the same text the next time.
        detector_factory.DetectorFactory.seed = 0
        detector_factory.init_factory()
    # A text without letters has no language; lm-eval takes that as followed and logs the whole text as an error.
    logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(logging.CRITICAL)
    return INSTRUCTION_DICT


def _checker(kind: str, kwargs: dict) -> Any:
    # The hub's rows carry every keyword of every type, null where it does not apply.
    given = {name: value for name, value in kwargs.items() if value}
    checker = _types()[kind](kind)
    checker.build_description(**given)
    if kind == "keywords:letter_frequency":
        # For a symbol, as the "#" of hashtags, lm-eval counts a random letter.
        checker._letter = given["letter"].lower()
    return checker


def check(row: dict) -> None:
    """Raise ValueError for a row that cannot be graded here."""
    where = f"IFEval row {row.get('key')}"
    kinds, kwargs = row["instruction_id_list"], row["kwargs"]
    if len(kinds) != len(kwargs):
        raise ValueError(f"{where}: {len(kinds)} instructions, but kwargs for {len(kwargs)}")
    for kind in kinds:
        if kind not in _types():
            nearest = get_close_matches(kind, _types(), n=1, cutoff=0)[0]
            raise ValueError(f"{where}: there is no instruction type {kind}; the nearest is {nearest}")
    for kind, given in zip(kinds, kwargs, strict=True):
        for name in _types()[kind](kind).get_instruction_args_keys():
            if not given.get(name):
                raise ValueError(f"{where}: {kind} needs {name}, for which lm-eval would make up a value")
        try:
            # A text without letters, as langdetect takes its time for one with them. It may be refused before a
            # later keyword is looked for, as the pattern that it is.
            _checker(kind, given).check_following("1.")
            for keyword in given.get("keywords") or ():
                re.compile(keyword)
        except (KeyError, TypeError, ValueError, re.error) as error:
            raise ValueError(f"{where}: {kind} cannot be checked: {type(error).__name__}: {error}") from None
        except LookupError:
            raise ValueError(
                f"{where}: {kind} needs NLTK's punkt_tab, which is not on this machine; "
                "get it with: python -m nltk.downloader punkt_tab"
            ) from None


def fields(row: dict) -> dict:
    return row


def _readings(text: str) -> list[str]:
    """What counts as the answer, loosely: the text itself, then the text less what often surrounds an answer."""
    lines = text.split("\n")
    texts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [each for each in dict.fromkeys([*texts, *(each.replace("*", "") for each in texts)]) if each.strip()]


def _follows(checker: Any, text: str) -> bool:
    try:
        return bool(checker.check_following(text))
    except RecursionError:  # JSON of a thousand open brackets, as a degenerate model writes it; lm-eval stops there.
        return False


def grade(row: dict, text: str) -> Verdict:
    readings = _readings(text)
    strict: list[bool] = []
    loose: list[bool] = []
    for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
        checker = _checker(kind, kwargs)
        followed = (_follows(checker, reading) for reading in readings)
        strict.append(next(followed, False))
        loose.append(strict[-1] or any(followed))
    return Verdict(score=float(all(strict)), parsed=bool(text.strip()), parts={"strict": strict, "loose": loose})


def figures(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """The four accuracies: shares of prompts all of whose instructions are followed, and of instructions."""
    parts = [verdict.parts for verdict in verdicts]
    return {
        f"{level}_{metric}": fmean(values)
        for metric in ("strict", "loose")
        for level, values in (
            ("prompt", [all(part[metric]) for part in parts]),
            ("instruction", [followed for part in parts for followed in part[metric]]),
        )
    }


def group(row: dict) -> dict:
    return {}
