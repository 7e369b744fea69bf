"""IFEval: instructions that a program can verify.

Data set: google/IFEval (Zhou et al. 2023), 25 types of instructions. Metric: prompt-level strict accuracy, for which a
completion must follow all instructions of its prompt; `further_scores` has the other three accuracies as well. Loose
accuracy also accepts a completion without its first line, its last line, both, or its asterisks. Protocol: zero-shot,
chat, greedy, with the checkers of lm-eval's task `ifeval`. Three differences from lm-eval, where its own verdict is
random or an error: a fixed seed for langdetect, the frequency of symbols, and JSON that is nested too deeply to parse
(docs/ifeval.md).
"""

import logging
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from statistics import fmean
from typing import Any

from evaluators.grading.verdict import Verdict
from evaluators.imports import IMPORTS

VERSION = 1
HUB = ("google/IFEval", None, "train")
ROWS = 541
COLUMNS = {"prompt": str, "instruction_id_list": list[str], "kwargs": list[dict]}
PROMPT = "{prompt}"
MAX_TOKENS = 1280
LIBRARIES = ("lm_eval", "langdetect", "nltk")


@cache
def _types() -> dict[str, Any]:
    """lm-eval's checkers by instruction type. Imported here, since they import NLTK, which takes seconds."""
    with IMPORTS:  # Nor are the patch and the loading of langdetect's profiles safe with two threads.
        import nltk
        from langdetect import detector_factory

        find = nltk.data.find
        # Without NLTK's punkt_tab, importing the checkers would download it. `check` reports where it is missing and
        # a row needs it, so the import is made to find it.
        nltk.data.find = lambda *_: ""
        try:
            from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
        finally:
            nltk.data.find = find
        # langdetect samples from the text; unseeded, it may detect another language in the same text the next time.
        detector_factory.DetectorFactory.seed = 0
        detector_factory.init_factory()
    # A text without letters has no language; lm-eval counts it as followed and logs the whole text as an error.
    logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(logging.CRITICAL)
    return INSTRUCTION_DICT


def _checker(kind: str, kwargs: dict) -> Any:
    # The hub's rows have every keyword of every type, with null where it does not apply.
    given = {name: value for name, value in kwargs.items() if value}
    checker = _types()[kind](kind)
    checker.build_description(**given)
    if kind == "keywords:letter_frequency":
        # For a symbol, such as the "#" of hashtags, lm-eval would count a random letter.
        checker._letter = given["letter"].lower()
    return checker


def check(row: dict) -> None:
    """Raise ValueError for a row that cannot be graded on this machine."""
    where = f"IFEval row {row.get('key')}"
    kinds, kwargs = row["instruction_id_list"], row["kwargs"]
    if len(kinds) != len(kwargs):
        raise ValueError(f"{where}: it has {len(kinds)} instructions and {len(kwargs)} kwargs")
    for kind in kinds:
        if kind not in _types():
            nearest = get_close_matches(kind, _types(), n=1, cutoff=0)[0]
            raise ValueError(f"{where}: there is no instruction type {kind}; the nearest is {nearest}")
    for kind, given in zip(kinds, kwargs, strict=True):
        for name in _types()[kind](kind).get_instruction_args_keys():
            if not given.get(name):
                raise ValueError(f"{where}: {kind} needs {name}, for which lm-eval would draw a random value")
        try:
            # A text without letters, since langdetect is slow on letters. The checker may return before it compiles
            # all keywords, which are regular expressions.
            _checker(kind, given).check_following("1.")
            for keyword in given.get("keywords") or ():
                re.compile(keyword)
        except (KeyError, TypeError, ValueError, re.error) as error:
            raise ValueError(f"{where}: {kind} cannot be checked: {type(error).__name__}: {error}") from None
        except LookupError:
            raise ValueError(
                f"{where}: {kind} needs NLTK's punkt_tab, which is not installed: run "
                "python -m nltk.downloader punkt_tab"
            ) from None


def _variants(text: str) -> list[str]:
    """The texts that loose accuracy accepts: the text itself, then the text without what often surrounds an answer."""
    lines = text.split("\n")
    texts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [each for each in dict.fromkeys([*texts, *(each.replace("*", "") for each in texts)]) if each.strip()]


def _follows(checker: Any, text: str) -> bool:
    try:
        return bool(checker.check_following(text))
    except RecursionError:  # A degenerate model can write JSON with a thousand open brackets, on which lm-eval fails.
        return False


def grade(row: dict, text: str) -> Verdict:
    variants = _variants(text)
    strict: list[bool] = []
    loose: list[bool] = []
    for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
        checker = _checker(kind, kwargs)
        followed = (_follows(checker, variant) for variant in variants)
        strict.append(next(followed, False))
        loose.append(strict[-1] or any(followed))
    return Verdict(score=float(all(strict)), parsed=bool(text.strip()), parts={"strict": strict, "loose": loose})


def further_scores(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """The four accuracies, strict and loose: per prompt (all its instructions are followed) and per instruction."""
    parts = [verdict.parts for verdict in verdicts]
    return {
        f"{level}_{metric}": fmean(values)
        for metric in ("strict", "loose")
        for level, values in (
            ("prompt", [all(part[metric]) for part in parts]),
            ("instruction", [followed for part in parts for followed in part[metric]]),
        )
    }
