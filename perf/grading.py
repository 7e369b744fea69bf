"""How mathematics is graded on real rows: gold and perturbed answers, and 10,000 answers beside lm-eval's scoring.

    OFFMODEL_REAL_DATA=folder python -m perf.grading [answers] [rows]

The folder has math500.jsonl and olympiadbench.jsonl with the columns of the data sets on the Hugging Face hub. `rows`
takes that many of each. perf/answer_variants.py builds the answers.
"""

import json
import logging
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from lm_eval.tasks.hendrycks_math import utils as hendrycks
from lm_eval.tasks.minerva_math import utils as minerva
from math_verify import parse, verify

from evaluators.benchmarks import math500, olympiadbench
from evaluators.grading import maths
from evaluators.grading.boxed import last_boxed
from evaluators.grading.symbolic import CPUS, equivalent
from evaluators.grading.verdict import Verdict
from perf.answer_variants import answers, gold_answer, perturbed

MATH500, OLYMPIADBENCH = "math500.jsonl", "olympiadbench.jsonl"
BENCHMARKS = {MATH500: math500, OLYMPIADBENCH: olympiadbench}


def read(file: str, rows: int | None) -> list[dict]:
    """The first `rows` rows of a file in the folder of real data."""
    path = Path(os.environ["OFFMODEL_REAL_DATA"], file)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:rows]]


def by_math_verify(gold: str, answer: str, only_expressions: bool = False) -> bool:
    """Whether math-verify parses both texts and finds them equal; `only_expressions` drops what it parses as text."""
    parsed = [parse(f"${text}$", parsing_timeout=None) for text in (gold, answer)]
    if only_expressions:
        parsed = [[one for one in read if not isinstance(one, str)] for read in parsed]
    return verify(*parsed, timeout_seconds=None)


def box_by_math_verify(row: dict, text: str) -> bool:
    """math-verify's verdict on the last box of an answer."""
    box = last_boxed(text)
    return box is not None and by_math_verify(gold_answer(row).replace("$", ""), box.replace("$", ""))


def by_hendrycks(row: dict, text: str) -> bool:
    """The verdict of lm-eval's hendrycks_math."""
    return bool(hendrycks.process_results(row, [text])["exact_match"])


def show_gold_answers(rows: dict[str, list[dict]]) -> None:
    """Print how gold and perturbed answers of all rows are graded, and every unexpected verdict."""
    print("| | rows | correct, with string comparison | without | no text | perturbed | accepted |")
    print("|---|---|---|---|---|---|---|")
    unexpected = []
    for file, benchmark in BENCHMARKS.items():
        correct = []
        for short_cut in (True, False):
            graded = [
                (row, maths.grade(benchmark.gold(row), f"\\boxed{{{gold_answer(row)}}}", short_cut))
                for row in rows[file]
            ]
            correct.append(sum(verdict.correct for _, verdict in graded))
            unexpected += [(file, row, str(verdict)) for row, verdict in graded if not verdict.correct]
        no_text = 0
        for row in rows[file]:
            parts = maths.parts(benchmark.gold(row), benchmark.gold(row).text)
            if all(by_math_verify(part, part, only_expressions=True) for part in parts):
                no_text += 1
            else:
                unexpected.append((file, row, "has text"))
        wrong = [(row, other) for row in rows[file] for other in perturbed(benchmark.gold(row).text)]
        accepted = [(row, other) for row, other in wrong if benchmark.grade(row, f"\\boxed{{{other}}}").correct]
        unexpected += [(file, row, f"accepts {other}") for row, other in accepted]
        print(
            f"| {file} | {len(rows[file])} | {correct[0]} | {correct[1]} | {no_text} | {len(wrong)} | {len(accepted)} |"
        )
    solved = [math500.grade(row, row["solution"]).correct for row in rows[MATH500]]
    print(f"\nsolutions of MATH-500: {sum(solved)} of {len(solved)} correct")
    for file, row, what in unexpected:
        print(f"- {file} {row.get('unique_id', row.get('id'))}: {gold_answer(row)}: {what}")


def show_answers(rows: dict[str, list[dict]], n: int) -> None:
    """Print how long we and lm-eval take for `n` answers, and how often our verdicts agree with others."""
    made = answers(rows[MATH500])[:n]
    print(f"\n{len(made)} answers to MATH-500 on {CPUS} CPUs")
    equivalent.cache_clear()
    with ThreadPoolExecutor(CPUS) as pool:  # Start the processes before the clock, as lm-eval's imports are.
        list(pool.map(equivalent, [("1", "2")] * CPUS, [("2", str(n)) for n in range(CPUS)]))
    started = time.perf_counter()
    ours = grade_all(math500, made)
    seconds = time.perf_counter() - started
    print(f"offmodel: {seconds:.1f} s")

    docs = {}
    for row in rows[MATH500]:
        box = minerva.remove_boxed(minerva.last_boxed_only_string(row["solution"]))
        docs[row["unique_id"]] = {"solution": row["solution"], "answer": minerva.normalize_final_answer(box)}
    started = time.perf_counter()
    theirs = [minerva.process_results(docs[row["unique_id"]], [text]) for row, _, text in made]
    lm_eval = time.perf_counter() - started
    print(f"lm-eval's minerva_math500: {lm_eval:.1f} s, {lm_eval / seconds:.1f} times as long")

    started = time.perf_counter()
    for row, _, text in made:
        verify(parse(docs[row["unique_id"]]["solution"]), parse(text))
    print(f"its metric math_verify alone: {(time.perf_counter() - started) / seconds:.1f} times as long as offmodel")
    show_agreement(
        made,
        ours,
        {
            "math-verify": [box_by_math_verify(row, text) for row, _, text in made],
            "math_verify": [bool(their["math_verify"]) for their in theirs],
            "exact_match": [bool(their["exact_match"]) for their in theirs],
            "hendrycks": [by_hendrycks(row, text) for row, _, text in made],
            "hendrycks, box": [by_hendrycks(row, f"${last_boxed(text)}$") for row, _, text in made],
        },
    )
    made = answers(rows[OLYMPIADBENCH])[:n]
    print(f"\n{len(made)} answers to OlympiadBench")
    others = {"math-verify": [box_by_math_verify(row, text) for row, _, text in made]}
    show_agreement(made, grade_all(olympiadbench, made), others)


def grade_all(benchmark: ModuleType, made: list[tuple[dict, str, str]]) -> list[Verdict]:
    """Our verdicts, graded on all CPUs."""
    with ThreadPoolExecutor(CPUS) as pool:
        return list(pool.map(lambda one: benchmark.grade(one[0], one[2]), made))


def show_agreement(made: list[tuple[dict, str, str]], ours: list[Verdict], others: dict[str, list[bool]]) -> None:
    """Print, for each kind of answer, how many verdicts equal ours, and examples where math-verify's differ."""
    counts: dict[str, Counter] = {}
    different: dict[tuple, list] = {}
    for i, ((row, kind, text), verdict) in enumerate(zip(made, ours, strict=True)):
        count = counts.setdefault(kind, Counter())
        count.update({"n": 1, "correct": verdict.correct})
        for name, verdicts in others.items():
            count[name] += verdicts[i] == verdict.correct
            if verdicts[i] != verdict.correct and "verify" in name:
                key = name, kind, "correct here" if verdict.correct else "wrong here"
                different.setdefault(key, []).append((gold_answer(row), last_boxed(text)))
    print(f"\n| kind | n | correct | {' | '.join(others)} |\n|---|{'---|' * (2 + len(others))}")
    for kind, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"| {kind} | {' | '.join(str(count[name]) for name in ('n', 'correct', *others))} |")
    print()
    for key, pairs in different.items():
        print(f"- {', '.join(key)}: {len(pairs)}, such as {'; '.join(f'{one} ~ {box}' for one, box in pairs[:8])}")


def main(n: int = 10_000, rows: int | None = None) -> None:
    """Print the tables."""
    if not os.environ.get("OFFMODEL_REAL_DATA"):
        raise SystemExit("OFFMODEL_REAL_DATA is not set: set it to the folder with the real rows")
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    data = {file: read(file, rows) for file in BENCHMARKS}
    show_gold_answers(data)
    show_answers(data, n)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
