"""Grading an answer to a problem in mathematics: what is in its box, against the gold answer.

What is told apart here is told by the text alone, in time that grows with its length: lists of answers, tuples and
intervals, units, thousands. Each single answer is then compared by math-verify (`symbolic.py`), whose reading of
LaTeX has laxities that the first half closes; `docs/grading.md` lists them.
"""

import re
from dataclasses import dataclass
from itertools import accumulate

from evaluators.grading.boxed import last_boxed, last_boxes
from evaluators.grading.symbolic import Judgement, is_mathematics, same_mathematics
from evaluators.grading.verdict import Verdict

LONGEST = 10_000  # characters in a box that symbolic algebra is still asked about
DEEPEST = 50  # brackets in brackets that it is still asked about
MOST = 64  # answers in a box


@dataclass(frozen=True)
class Gold:
    """A gold answer. `several`: a comma is always between answers, never in a number. `tolerance`: of each number.

    `unit`: what the question asks the answer in, which an answer may name or not.
    """

    text: str
    several: bool = False
    unit: str = ""
    tolerance: float | None = None


def grade(gold: Gold, text: str, short_cut: bool = True) -> Verdict:
    """The grade of an answer. Without the short cut, equal texts are compared by symbolic algebra as well."""
    answer = last_boxes(text) if len(parts(gold, gold.text)) > 1 else last_boxed(text)
    if answer is None:
        return Verdict(score=0.0, parsed=False)
    if len(answer) > LONGEST:
        return Verdict(
            score=0.0, parsed=True, answer=None, note=f"an answer of {len(answer)} characters is not compared"
        )
    judged = compare(gold, answer, short_cut)
    return Verdict(score=float(judged.so), parsed=True, answer=tidy(answer), note=judged.note)


def compare(gold: Gold, answer: str, short_cut: bool = True) -> Judgement:
    """Whether an answer, without its box, is the gold answer."""
    if short_cut and tidy(gold.text) == tidy(answer):
        return Judgement(True)
    golds, answers = parts(gold, gold.text), parts(gold, answer)
    if len(golds) != len(answers):
        return Judgement(False)
    if len(answers) > MOST:
        return Judgement(False, f"a list of {len(answers)} answers is not compared")
    if (depth := _depth(answer)) > DEEPEST:
        return Judgement(False, f"an answer of {depth} brackets in one another is not compared")
    if short_cut and gold.tolerance is None and all(_INTEGER.fullmatch(part) for part in golds + answers):
        return Judgement(sorted(map(int, golds)) == sorted(map(int, answers)))
    shapes = sorted(map(_shape, golds)), sorted(map(_shape, answers))
    if shapes[0] != shapes[1] and all(shapes[0] + shapes[1]):
        return Judgement(False)
    return same_mathematics(tuple(golds), tuple(answers), gold.tolerance)


def check(gold: Gold, name: str) -> None:
    """Raises ValueError for a gold answer that nothing can be compared with."""
    unread = [one for one in parts(gold, gold.text) if not (_INTEGER.fullmatch(one) or is_mathematics(one).so)]
    if unread or not tidy(gold.text):
        raise ValueError(f"{name}: its gold answer {gold.text!r} is not LaTeX that math-verify can read")


_INTEGER = re.compile(r"[+-]?\d{1,40}")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3}){1,12}(?![\d,])")
_TIDY = [
    (re.compile(r"(\\\\) ?\[[\w.]{1,9}\]"), r"\1"),  # a matrix's line that is set wider: \\[4pt]
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?"), ""),
    (re.compile(r"(?<!\\)\\[()\[\]]|\\?\$"), " "),  # what opens and closes mathematics; money
    (re.compile(r"\{,\}|,?\\! ?(?=\d{3})"), ""),  # a comma in a number: 10{,}080 and 10,\!080
    (re.compile(r"(?<!\\)\\[!,;:> ]|~|\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r" ?(?:\\(?:text|mathrm)\{ ?percent ?\}|\bpercent\b)"), r"\\%"),
    (
        re.compile(r"(?<=[)\]}%]) {0,3}\\(?:text|mbox|mathrm)\{[^{}]*\}$"),
        "",
    ),  # a unit; math-verify finds it after a number
    (re.compile(r",? ?(?:\\text\{ ?)?\bwhere\b.*"), ""),
]
_AND = re.compile(r",? ?(?:\\(?:text|mathrm|mbox)\{ ?(?:and|or) ?\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])) ?")
_PM, _MP = re.compile(r"\\pm(?![a-zA-Z])"), re.compile(r"\\mp(?![a-zA-Z])")
_DEPTH = re.compile(r"\\begin(?![a-zA-Z])|\\end(?![a-zA-Z])|\\[lr]angle(?![a-zA-Z])|[()\[\]{},;]")
_NAMED = re.compile(r"(?:\([\w ,\\]{1,40}\)|[^=()\[\]{}<>]{1,40}?) ?(?:=|\\in(?![a-zA-Z])) ?(?=[(\[]|\\\{)")
_NAMED_INTERVAL = re.compile(r"[a-zA-Z] ?(?=\([^()\[\]]*\]$|\[[^()\[\]]*\)$)")
_BASE = re.compile(r"\d+_\{?(\d+)\}?")


def tidy(text: str) -> str:
    """An answer without what only sets it: the marks of mathematics, sizes, spaces, a full stop."""
    text = " ".join(text.split())
    for pattern, instead in _TIDY:
        text = pattern.sub(instead, text)
    return " ".join(text.split()).rstrip(". ")


def parts(gold: Gold, text: str) -> list[str]:
    """The single answers in a text."""
    text = _without(gold.unit, tidy(text))
    if not gold.several and not re.search(r"[(\[]|\\\{", text):
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    text = _bare(text)
    if text.startswith("\\{") and text.endswith("\\}") and not re.search(r"\\[{}]", text[2:-2]):
        text = text[2:-2]
    return [sign for part in split(_AND.sub(", ", text)) if part for sign in _signs(_bare(part))]


def _signs(part: str) -> list[str]:
    """`1 \\pm x` is `1 + x` and `1 - x`."""
    signs = [_PM.sub(pm, _MP.sub(mp, part)) for pm, mp in ("+-", "-+")]
    return list(dict.fromkeys(signs))


def split(text: str) -> list[str]:
    """Several answers in one text, at the commas that no bracket holds: `(1,2), 3` is `(1,2)` and `3`."""
    found, depth, begin = [], 0, 0
    for token in _DEPTH.finditer(text):
        if token[0] in ",;":
            if depth == 0:
                found.append(text[begin : token.start()])
                begin = token.end()
        else:
            depth += 1 if token[0] in "([{" or token[0] in ("\\begin", "\\langle") else -1
    return [part.strip() for part in [*found, text[begin:]]]


def _bare(text: str) -> str:
    """A tuple, an interval or a set without the name that it was given: `(x, y) = (1, 2)` is `(1, 2)`."""
    named = _NAMED.match(text) or _NAMED_INTERVAL.match(text)
    if named and (text.endswith("\\}") or _brackets(text[named.end() :])):
        return text[named.end() :]
    return text


def _brackets(text: str) -> str:
    """The outer brackets of a tuple or an interval, as "(]"; nothing for another thing."""
    if not (text[:1] in ("(", "[") and text[-1:] in (")", "]")):
        return ""
    commas = False
    depth = 0
    for token in _DEPTH.finditer(text):
        if token[0] in ",;":
            commas |= depth == 1
        else:
            depth += 1 if token[0] in "([{" or token[0] in ("\\begin", "\\langle") else -1
            if depth == 0 and token.end() < len(text):
                return ""
    return text[0] + text[-1] if commas else ""


def _depth(text: str) -> int:
    """How many brackets are open at once at most."""
    return max(accumulate(((mark in "([{") - (mark in ")]}") for mark in text), initial=0))


def _shape(part: str) -> str:
    """What math-verify does not look at, and has to be the same where both have it: brackets, or a numeral's base."""
    base = _BASE.fullmatch(part)
    return base[1] if base else _brackets(part)


def _without(unit: str, text: str) -> str:
    """An answer without its unit."""
    unit = unit.strip("$ ")
    if unit in ("", "%"):
        return text
    written = re.escape(unit).replace(r"\^2", r" ?\}? ?\^ ?\{?2\}?")
    if unit.startswith("min"):
        written = "min(?:ute)?s?"
    if "circ" in unit:
        written = r"\^ ?\{? ?\\circ ?\}?"
    return re.sub(rf" ?(?:\\(?:text|textrm|mathrm|mbox|rm) ?\{{)? ?{written} ?\}}?$", "", text)
