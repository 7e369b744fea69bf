"""How the grading of mathematics does on real rows: gold answers, perturbed ones, 10,000 answers beside lm-eval's.

    OFFMODEL_REAL_DATA=folder python -m benchmarks.grading [answers]

The folder holds math500.jsonl and olympiadbench.jsonl with the columns of the data sets on the hub. The answers are
built from the rows: their solutions, gold answers in other wordings, perturbed, truncated, with two boxes.
"""

import json
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from evaluators.benchmarks import math500, olympiadbench
from evaluators.grading import maths
from evaluators.grading.boxed import last_boxed
from evaluators.grading.symbolic import CPUS, equivalent
from evaluators.grading.verdict import Verdict

FILES = {"MATH-500": ("math500.jsonl", math500), "OlympiadBench": ("olympiadbench.jsonl", olympiadbench)}


def read(folder: str, file: str) -> list[dict]:
    return [json.loads(line) for line in Path(folder, file).read_text(encoding="utf-8").splitlines()]


def boxed(answer: str) -> str:
    """In the sentence that lm-eval's minerva_math asks for."""
    return f"Final Answer: The final answer is $\\boxed{{{answer}}}$. I hope it is correct."


# Perturbed gold answers ---------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"\d+")
_PAIR = re.compile(r"([(\[])([^,()\[\]]+),([^,()\[\]]+)([)\]])")
_WORD = re.compile(r"\\text\{\(?([A-Za-z]+)\)?\}")
_LETTER = re.compile(r"(?<![\\a-zA-Z{])[a-zA-Z](?![a-zA-Z{(=])")


def perturbed(gold: str) -> list[str]:
    """Other answers, made of a gold answer: ends swapped, signs changed, numbers changed, another word or letter."""
    name, equals, value = gold.rpartition("=")
    ways = [_swapped, _other_sign, _other_number, _other_first_number, _other_bracket, _other_word, _other_letter]
    made = [name + equals + other for way in ways for other in way(value)]
    return [other for other in dict.fromkeys(made) if other != gold]


def _swapped(value: str) -> list[str]:
    value = value.replace("\\left", "").replace("\\right", "")
    pair = _PAIR.search(value)
    if not pair or pair[2].strip() == pair[3].strip():
        return []
    return [value[: pair.start()] + f"{pair[1]}{pair[3]},{pair[2]}{pair[4]}" + value[pair.end() :]]


def _other_sign(value: str) -> list[str]:
    body = re.fullmatch(r"((?:[\s$(\[]|\\[\[({$]|\\left|\\quad|[a-z] ?\\in)*)(-?)(.*)", value, re.DOTALL)
    if body is None or not body[3] or body[3][:2] == "0" or re.match(r"0\b|\\text|\\infty|\\begin|[a-z] ?\(", body[3]):
        return []
    return [body[1] + ("" if body[2] else "-") + body[3]]


def _other_number(value: str) -> list[str]:
    numbers = list(_NUMBER.finditer(value))
    return [_with(value, numbers[-1], str(int(numbers[-1][0]) + 1).zfill(len(numbers[-1][0])))] if numbers else []


def _other_first_number(value: str) -> list[str]:
    number = _NUMBER.search(value)
    return [_with(value, number, str(int(number[0]) + 10))] if number and value[: number.start()][-1:] != "." else []


def _other_bracket(value: str) -> list[str]:
    pair = _PAIR.fullmatch(value.strip("$ "))
    return [f"{'([)]'['[('.index(pair[1])]}{pair[2]},{pair[3]}{pair[4]}"] if pair else []


def _other_word(value: str) -> list[str]:
    word = _WORD.search(value)
    return [value.replace(word[1], "A" if word[1] > "B" else "Z")] if word else []


def _other_letter(value: str) -> list[str]:
    letter = _LETTER.search(value)
    return [_with(value, letter, f"({letter[0]}+1)")] if letter and letter[0] != "i" else []


def _with(text: str, match: re.Match, instead: str) -> str:
    return text[: match.start()] + instead + text[match.end() :]


# Answers as models write them ---------------------------------------------------------------------------------------


def _decimal(gold: str) -> str:
    fraction = re.fullmatch(r"(-?)\\[dt]?frac ?\{?(\d+?)\}? ?\{?(\d+)\}?", gold)
    if not fraction:
        return f"{gold}.0" if gold.isdigit() else gold.replace(" ", "")
    value = Fraction(int(fraction[2]), int(fraction[3]))
    return fraction[1] + f"{float(value):.6f}".rstrip("0")


WORDINGS: dict[str, Callable[[str], str]] = {
    "lm-eval's sentence": boxed,
    "the box alone": lambda gold: f"\\boxed{{{gold}}}",
    "display mathematics": lambda gold: f"So we have\n\\[\n\\boxed{{{gold}}}\n\\]",
    "\\dfrac": lambda gold: boxed(re.sub(r"\\frac(?![a-z])", r"\\dfrac", gold)),
    "a/b": lambda gold: boxed(re.sub(r"(?<![\d ])\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", gold)),
    "decimals": lambda gold: boxed(_decimal(gold)),
    "dollars in the box": lambda gold: f"It is \\boxed{{${gold}$}}.",
    "a name": lambda gold: boxed(gold if "=" in gold or "\\in " in gold else f"x = {gold}"),
    "a unit": lambda gold: boxed(gold if "\\text" in gold else f"{gold} \\text{{ units}}"),
    "blanks and a full stop": lambda gold: boxed(f"  {gold} . "),
}


def answers(rows: list[dict]) -> list[tuple[dict, str, str]]:
    """Rows with an answer and what kind of answer it is; the same in each run. Solutions only where they have a box."""
    made = []
    for i, row in enumerate(rows):
        gold, other = gold_of(row), rows[(i * 7 + 3) % len(rows)]
        made += [(row, kind, wording(gold)) for kind, wording in WORDINGS.items()]
        wrong = perturbed(gold)
        made += [(row, "perturbed", boxed(wrong[n % len(wrong)])) for n in range(3)]
        made += [
            (row, "another row's answer", boxed(gold_of(other))),
            (row, "two boxes, the last right", f"{boxed(wrong[0])} No, that is wrong. Once more: {boxed(gold)}"),
            (row, "two boxes, the last wrong", f"{boxed(gold)} No, that is wrong. Once more: {boxed(wrong[0])}"),
            (row, "no box", f"Final Answer: The final answer is ${gold}$. I hope it is correct."),
        ]
        solution = row["solution"]
        if isinstance(solution, str):
            made += [
                (row, "its solution", solution),
                (row, "another row's solution", other["solution"]),
                (row, "truncated", solution[: solution.rfind("\\boxed{") + 7 + i % 2]),
            ]
    return made


def gold_of(row: dict) -> str:
    return row["answer"] if "answer" in row else ", ".join(row["final_answer"])


# The tables ---------------------------------------------------------------------------------------------------------


def by_math_verify(gold: str, answer: str, only_expressions: bool = False) -> bool:
    """math-verify's own reading and verdict."""
    from math_verify import parse, verify

    ours, theirs = (parse(f"${text}$", parsing_timeout=None) for text in (gold, answer))
    if only_expressions:
        ours, theirs = ([one for one in read if not isinstance(one, str)] for read in (ours, theirs))
    return verify(ours, theirs, timeout_seconds=None)


def show_golds(folder: str) -> None:
    print("| | rows | short cut | none | no text at all | perturbed | taken |\n|---|---|---|---|---|---|---|")
    listed = []
    for name, (file, benchmark) in FILES.items():
        rows = read(folder, file)
        columns = []
        for short_cut in (True, False):
            verdicts = [
                (row, maths.grade(benchmark.gold(row), f"\\boxed{{{gold_of(row)}}}", short_cut)) for row in rows
            ]
            columns.append(sum(verdict.correct for _, verdict in verdicts))
            listed += [(name, row, verdict) for row, verdict in verdicts if not verdict.correct]
        expressions = 0
        for row in rows:
            parts = maths.parts(benchmark.gold(row), benchmark.gold(row).text)
            alone = all(by_math_verify(part, part, only_expressions=True) for part in parts)
            expressions += alone
            listed += [] if alone else [(name, row, "text")]
        others = [(row, other) for row in rows for other in perturbed(benchmark.gold(row).text)]
        taken = [pair for pair in others if benchmark.grade(pair[0], f"\\boxed{{{pair[1]}}}").correct]
        listed += [(name, row, f"takes {other}") for row, other in taken]
        print(f"| {name} | {len(rows)} | {columns[0]} | {columns[1]} | {expressions} | {len(others)} | {len(taken)} |")
    solved = [math500.grade(row, row["solution"]).correct for row in read(folder, FILES["MATH-500"][0])]
    print(f"\nMATH-500's own solutions: {sum(solved)} of {len(solved)} right")
    for name, row, what in listed:
        print(f"- {name} {row.get('unique_id', row.get('id'))}: {row.get('answer', row.get('final_answer'))}: {what}")


def show_answers(folder: str, n: int) -> None:
    from lm_eval.tasks.hendrycks_math import utils as hendrycks
    from lm_eval.tasks.minerva_math import utils as minerva
    from math_verify import parse, verify

    def hendrycks_right(row: dict, text: str) -> bool:
        return bool(hendrycks.process_results(row, [text])["exact_match"])

    made = answers(read(folder, FILES["MATH-500"][0]))[:n]
    print(f"\n{len(made)} answers to MATH-500 on {CPUS} CPUs")
    equivalent.cache_clear()
    with ThreadPoolExecutor(CPUS) as pool:  # The processes are up when the clock starts, as lm-eval's imports are done.
        list(pool.map(equivalent, [("1", "2")] * CPUS, [("2", str(n)) for n in range(CPUS)]))
    began = time.perf_counter()
    with ThreadPoolExecutor(CPUS) as pool:
        ours = list(pool.map(lambda one: math500.grade(one[0], one[2]), made))
    seconds = time.perf_counter() - began
    print(f"offmodel: {seconds:.1f} s")
    docs = {}
    for row, *_ in made:
        held = minerva.remove_boxed(minerva.last_boxed_only_string(row["solution"]))
        answer = minerva.normalize_final_answer(held)
        docs[row["unique_id"]] = {"solution": row["solution"], "answer": answer}
    began = time.perf_counter()
    theirs = [minerva.process_results(docs[row["unique_id"]], [text]) for row, _, text in made]
    lm_eval = time.perf_counter() - began
    print(f"lm-eval's minerva_math500: {lm_eval:.1f} s, {lm_eval / seconds:.1f} times as long")

    began = time.perf_counter()
    for row, _, text in made:
        verify(parse(docs[row["unique_id"]]["solution"]), parse(text))
    print(f"its metric math_verify alone: {(time.perf_counter() - began) / seconds:.1f} times as long as offmodel")
    columns: dict[str, list[bool]] = {
        "math-verify": [by_math_verify_held(row, text) for row, _, text in made],
        "math_verify": [bool(their["math_verify"]) for their in theirs],
        "exact_match": [bool(their["exact_match"]) for their in theirs],
        "hendrycks": [hendrycks_right(row, text) for row, _, text in made],
        "hendrycks, box": [hendrycks_right(row, f"${last_boxed(text)}$") for row, _, text in made],
    }
    show_agreement(made, ours, columns)
    made = answers(read(folder, FILES["OlympiadBench"][0]))[:n]
    print(f"\n{len(made)} answers to OlympiadBench")
    with ThreadPoolExecutor(CPUS) as pool:
        ours = list(pool.map(lambda one: olympiadbench.grade(one[0], one[2]), made))
    show_agreement(made, ours, {"math-verify": [by_math_verify_held(row, text) for row, _, text in made]})


def show_agreement(made: list, ours: list[Verdict], columns: dict[str, list[bool]]) -> None:
    """For each kind of answer how many verdicts are as ours; for math-verify's, the others with examples."""
    counts: dict[str, Counter] = {}
    others: dict[tuple, list] = {}
    for i, ((row, kind, text), verdict) in enumerate(zip(made, ours, strict=True)):
        count = counts.setdefault(kind, Counter())
        count.update({"n": 1, "right": verdict.correct})
        for name, verdicts in columns.items():
            count[name] += verdicts[i] == verdict.correct
            if verdicts[i] != verdict.correct and "verify" in name:
                key = name, kind, "right here" if verdict.correct else "wrong here"
                others.setdefault(key, []).append((gold_of(row), last_boxed(text)))
    print(f"\n| kind | n | right | {' | '.join(columns)} |\n|---|{'---|' * (2 + len(columns))}")
    for kind, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"| {kind} | {' | '.join(str(count[name]) for name in ('n', 'right', *columns))} |")
    print()
    for key, pairs in others.items():
        print(f"- {', '.join(key)}: {len(pairs)}, as {'; '.join(f'{gold} ~ {held}' for gold, held in pairs[:8])}")


def by_math_verify_held(row: dict, text: str) -> bool:
    held = last_boxed(text)
    return held is not None and by_math_verify(gold_of(row).replace("$", ""), held.replace("$", ""))


if __name__ == "__main__":
    if not os.environ.get("OFFMODEL_REAL_DATA"):
        sys.exit("OFFMODEL_REAL_DATA does not name the folder of the real rows")
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    show_golds(os.environ["OFFMODEL_REAL_DATA"])
    show_answers(os.environ["OFFMODEL_REAL_DATA"], int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
