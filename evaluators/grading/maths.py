"""Grades an answer to a maths problem: the content of its box against the gold answer.

This module works on the text, in linear time: it splits lists of answers and handles tuples, intervals, units and
thousands separators. math-verify (`symbolic.py`) then compares each single answer. Some checks here are stricter than
math-verify, which accepts some wrong answers; `docs/grading.md` lists them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from evaluators.grading.boxed import last_boxed, last_boxes
from evaluators.grading.symbolic import SymbolicResult, equivalent, is_parsable
from evaluators.grading.verdict import UnreadableGold, Verdict

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{{}}."  # for format strings
LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy")  # whose versions change grades
# Limits, beyond which an answer is not compared.
MAX_CHARACTERS = 10_000
MAX_DEPTH = 50  # of nested brackets
MAX_ANSWERS = 64  # in one box


@dataclass(frozen=True)
class Gold:
    """A gold answer.

    `several`: a comma always separates answers and is never a thousands separator. `tolerance`: the absolute tolerance
    of each number. `unit`: the unit that the problem asks for, which an answer may omit.
    """

    text: str
    several: bool = False
    unit: str = ""
    tolerance: float | None = None


def grade(gold: Gold, text: str, short_cut: bool = True) -> Verdict:
    """The verdict on a completion. Without `short_cut`, math-verify compares equal texts and integers as well."""
    answer = last_boxes(text) if len(parts(gold, gold.text)) > 1 else last_boxed(text)
    if answer is None:
        return Verdict(score=0.0, parsed=False)
    if len(answer) > MAX_CHARACTERS:
        return Verdict(
            score=0.0, parsed=True, answer=None, note=f"an answer of {len(answer)} characters is not compared"
        )
    result = compare(gold, answer, short_cut)
    return Verdict(score=float(result.value), parsed=True, answer=tidy(answer), note=result.note)


def compare(gold: Gold, answer: str, short_cut: bool = True) -> SymbolicResult:
    """Whether an answer, given without its box, is equivalent to the gold answer."""
    if short_cut and tidy(gold.text) == tidy(answer):
        return SymbolicResult(True)
    golds, answers = parts(gold, gold.text), parts(gold, answer)
    if len(golds) != len(answers):
        return SymbolicResult(False)
    if len(answers) > MAX_ANSWERS:
        return SymbolicResult(False, f"a list of {len(answers)} answers is not compared")
    if (depth := _depth(answer)) > MAX_DEPTH:
        return SymbolicResult(False, f"an answer with {depth} levels of brackets is not compared")
    if short_cut and gold.tolerance is None and all(_INTEGER.fullmatch(part) for part in golds + answers):
        return SymbolicResult(sorted(map(int, golds)) == sorted(map(int, answers)))
    shapes = sorted(map(_shape, golds)), sorted(map(_shape, answers))
    if shapes[0] != shapes[1] and all(shapes[0] + shapes[1]):
        return SymbolicResult(False)
    return equivalent(tuple(golds), tuple(answers), gold.tolerance)


def check(gold: Gold, name: str) -> None:
    """Raise UnreadableGold for a gold answer that math-verify cannot parse."""
    parsable = all(_INTEGER.fullmatch(one) or is_parsable(one).value for one in parts(gold, gold.text))
    if not parsable or not tidy(gold.text):
        raise UnreadableGold(f"{name}: its gold answer {gold.text!r:.200} is not LaTeX that math-verify can parse")


_INTEGER = re.compile(r"[+-]?\d{1,40}")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3}){1,12}(?![\d,])")
_TIDY = [
    (re.compile(r"(\\\\) ?\[[\w.]{1,9}\]"), r"\1"),  # the extra space after a matrix row: \\[4pt]
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?"), ""),
    (re.compile(r"(?<!\\)\\[()\[\]]|\\?\$"), " "),  # delimiters of maths mode; dollar signs
    (re.compile(r"\{,\}|,?\\! ?(?=\d{3})"), ""),  # a thousands separator: 10{,}080 and 10,\!080
    (re.compile(r"(?<!\\)\\[!,;:> ]|~|\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r" ?(?:\\(?:text|mathrm)\{ ?percent ?\}|\bpercent\b)"), r"\\%"),
    (
        re.compile(r"(?<=[)\]}%]) {0,3}\\(?:text|mbox|mathrm)\{[^{}]*\}$"),
        "",
    ),  # a unit after a bracket; math-verify removes one after a number
    (re.compile(r",? ?(?:\\text\{ ?)?\bwhere\b.*"), ""),
]
_AND = re.compile(r",? ?(?:\\(?:text|mathrm|mbox)\{ ?(?:and|or) ?\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])) ?")
_PM, _MP = re.compile(r"\\pm(?![a-zA-Z])"), re.compile(r"\\mp(?![a-zA-Z])")
_DEPTH = re.compile(r"\\begin(?![a-zA-Z])|\\end(?![a-zA-Z])|\\[lr]angle(?![a-zA-Z])|[()\[\]{},;]")
_NAMED = re.compile(r"(?:\([\w ,\\]{1,40}\)|[^=()\[\]{}<>]{1,40}?) ?(?:=|\\in(?![a-zA-Z])) ?(?=[(\[]|\\\{)")
_NAMED_INTERVAL = re.compile(r"[a-zA-Z] ?(?=\([^()\[\]]*\]$|\[[^()\[\]]*\)$)")
_BASE = re.compile(r"\d+_\{?(\d+)\}?")


def tidy(text: str) -> str:
    """An answer without what is only layout: delimiters of maths mode, sizes of brackets, spaces, a final full stop."""
    text = " ".join(text.split())
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return " ".join(text.split()).rstrip(". ")


def parts(gold: Gold, text: str) -> list[str]:
    """The single answers in a text that may list several."""
    text = _without(gold.unit, tidy(text))
    if not gold.several and not re.search(r"[(\[]|\\\{", text):
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    text = _bare(text)
    if text.startswith("\\{") and text.endswith("\\}") and not re.search(r"\\[{}]", text[2:-2]):
        text = text[2:-2]
    return [sign for part in split(_AND.sub(", ", text)) if part for sign in _signs(_bare(part))]


def _signs(part: str) -> list[str]:
    """`1 \\pm x` becomes `1 + x` and `1 - x`."""
    signs = [_PM.sub(pm, _MP.sub(mp, part)) for pm, mp in ("+-", "-+")]
    return list(dict.fromkeys(signs))


def split(text: str) -> list[str]:
    """Split a text at the commas outside all brackets: `(1,2), 3` becomes `(1,2)` and `3`."""
    found, begin = [], 0
    for token, depth in _depths(text):
        if token[0] in ",;" and depth == 0:
            found.append(text[begin : token.start()])
            begin = token.end()
    return [part.strip() for part in [*found, text[begin:]]]


def _depths(text: str) -> Iterator[tuple[re.Match, int]]:
    """The brackets and commas of a text, each with the number of brackets that are open after it."""
    depth = 0
    for token in _DEPTH.finditer(text):
        if token[0] not in ",;":
            depth += 1 if token[0] in "([{" or token[0] in ("\\begin", "\\langle") else -1
        yield token, depth


def _bare(text: str) -> str:
    """A tuple, an interval or a set without the name in front of it: `(x, y) = (1, 2)` becomes `(1, 2)`."""
    named = _NAMED.match(text) or _NAMED_INTERVAL.match(text)
    if named and (text.endswith("\\}") or _brackets(text[named.end() :])):
        return text[named.end() :]
    return text


def _brackets(text: str) -> str:
    """The outer brackets of a tuple or an interval, such as "(]"; empty for anything else."""
    if not (text[:1] in ("(", "[") and text[-1:] in (")", "]")):
        return ""
    commas = False
    for token, depth in _depths(text):
        commas |= depth == 1 and token[0] in ",;"
        if depth == 0 and token.end() < len(text):
            return ""
    return text[0] + text[-1] if commas else ""


def _depth(text: str) -> int:
    """The largest depth of nested brackets."""
    return max(accumulate(((mark in "([{") - (mark in ")]}") for mark in text), initial=0))


def _shape(part: str) -> str:
    """What math-verify ignores and must agree where both texts have it: the brackets, or the base of a numeral."""
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
