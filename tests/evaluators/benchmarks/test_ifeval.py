"""Verdicts of IFEval, on constructed rows and on the real ones, which are not part of the repository."""

import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from evaluators.benchmarks import ifeval
from evaluators.engines.generations import Generation
from evaluators.engines.requests import Completion
from evaluators.evaluate import example_ids, grade
from evaluators.grading.verdict import Verdict
from evaluators.rows import check_columns, read_rows

FOLDER = os.environ.get("OFFMODEL_REAL_DATA")
PUNKT = ("length_constraints:number_sentences", "change_case:capital_word_frequency")
ATLEAST = {"relation": "at least"}

# For each type: keywords, and a function that writes a text which follows it.
TYPES = {
    "keywords:existence": ({"keywords": ["red", "fox"]}, lambda k: " ".join(k["keywords"]).upper()),
    "keywords:frequency": (
        {"keyword": "fox", "frequency": 2, **ATLEAST},
        lambda k: f"{k['keyword']}, " * (k["frequency"] if k["relation"] == "at least" else 0) + "and so on",
    ),
    "keywords:forbidden_words": ({"forbidden_words": ["fox"]}, lambda k: "0 1 2"),
    "keywords:letter_frequency": (
        {"letter": "#", "let_frequency": 3, "let_relation": "at least"},
        lambda k: k["letter"] * k["let_frequency"] if k["let_relation"] == "at least" else "0 1 2",
    ),
    "language:response_language": (
        {"language": "de"},
        lambda k: {
            "de": "Das ist ein ganz gewöhnlicher Satz, und hier steht noch einer.",
            "hi": "यह हिन्दी में लिखा हुआ एक साधारण वाक्य है।",
            "ko": "이것은 한국어로 쓴 평범한 문장입니다.",
            "ta": "இது தமிழில் எழுதப்பட்ட ஒரு வாக்கியம்.",
        }.get(k["language"], "0 1 2"),
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, **ATLEAST},
        lambda k: "He came home. " * (k["num_sentences"] if k["relation"] == "at least" else 1),
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 3},
        lambda k: "\n***\n".join(["a paragraph"] * k["num_paragraphs"]),
    ),
    "length_constraints:number_words": (
        {"num_words": 9, **ATLEAST},
        lambda k: "word " * (k["num_words"] if k["relation"] == "at least" else 1),
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "owl"},
        lambda k: "\n\n".join([f"{k['first_word'].title()}, so to say."] * k["num_paragraphs"]),
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2},
        lambda k: "To [name]\n" * k["num_placeholders"],
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.S."},
        lambda k: f"Yours\n\n{k['postscript_marker']} Bye",
    ),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, lambda k: "* a point\n" * k["num_bullets"]),
    "detectable_format:constrained_response": ({}, lambda k: "My answer is maybe."),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, lambda k: "*so* " * k["num_highlights"]),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        lambda k: "".join(f"{k['section_spliter']} {i}\nText\n" for i in range(k["num_sections"])),
    ),
    "detectable_format:json_format": ({}, lambda k: '```json\n{"a": [1, 2]}\n```'),
    "detectable_format:title": ({}, lambda k: "<<a title>>\nand the rest"),
    "combination:two_responses": ({}, lambda k: "one\n******\ntwo"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say it."}, lambda k: k["prompt_to_repeat"] + "\n\nIt."),
    "startend:end_checker": ({"end_phrase": "The end."}, lambda k: f'So it is. {k["end_phrase"].upper()}" '),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        lambda k: "He said NO " * (k["capital_frequency"] if k["capital_relation"] == "at least" else 0) + "so",
    ),
    "change_case:english_capital": ({}, lambda k: "THIS IS A PLAIN ENGLISH SENTENCE."),
    "change_case:english_lowercase": ({}, lambda k: "this is a plain english sentence."),
    "punctuation:no_comma": ({}, lambda k: "no such thing"),
    "startend:quotation": ({}, lambda k: '"As he said, so it was."'),
}
# At least one of these two does not follow an instruction of each type.
UNRELATED = ["Well, a b; the fox, THE OWL and 3 others said: o" + "no, " * 99 + "i. I came. " * 99, "x"]


def row_with(*instructions: tuple[str, dict]) -> dict:
    every = [name for kwargs, _ in TYPES.values() for name in kwargs]
    # As on the hub, each entry has every keyword, with null where it does not apply.
    kwargs = [dict.fromkeys(every) | given for _, given in instructions]
    return {"key": 1, "prompt": "do", "instruction_id_list": [kind for kind, _ in instructions], "kwargs": kwargs}


def clear_punkt() -> None:
    from lm_eval.tasks.ifeval import instructions_util
    from nltk import tokenize

    instructions_util._get_sentence_tokenizer.cache_clear()
    tokenize._get_punkt_tokenizer.cache_clear()


@pytest.fixture
def punkt(tmp_path, monkeypatch):
    """An untrained Punkt without abbreviations; it splits texts the same way for both graders."""
    folder = tmp_path / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    for name in ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"):
        (folder / name).touch()
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    ifeval._types()
    clear_punkt()
    yield
    clear_punkt()


@pytest.fixture
def no_punkt(monkeypatch):
    monkeypatch.setattr("nltk.data.path", [])
    ifeval._types()
    clear_punkt()


def is_random(kind: str, kwargs: dict) -> bool:
    """Whether lm-eval's verdict depends on a random letter."""
    return kind == "keywords:letter_frequency" and not kwargs["letter"].isalpha()


def compare(rows_and_texts: list[tuple[dict, str]]) -> None:
    """Assert that our verdicts equal lm-eval's, and that each type has followed and other instructions."""
    from lm_eval.tasks.ifeval.utils import process_results

    seen, spent = defaultdict(set), [0.0, 0.0]
    for row, text in rows_and_texts:
        start = time.perf_counter()
        given = ifeval.grade(row, text)
        middle = time.perf_counter()
        theirs = process_results(row, [text])
        spent[0] += middle - start
        spent[1] += time.perf_counter() - middle
        assert given.parsed == bool(text.strip())
        assert given.score == all(given.parts["strict"])
        for part in ("strict", "loose"):
            expected = theirs[f"inst_level_{part}_acc"]
            pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
            for (kind, kwargs), ours, lm_eval in zip(pairs, given.parts[part], expected, strict=True):
                assert ours == lm_eval or is_random(kind, kwargs), (row["key"], kind, kwargs, part, text)
                seen[kind, part].add(ours)
    print(f"{len(rows_and_texts)} answers: {spent[0]:.2f} s here, {spent[1]:.2f} s in lm-eval")
    assert seen == {(kind, part): {False, True} for kind in TYPES for part in ("strict", "loose")}


def test_the_types_are_those_of_lm_eval():
    assert set(TYPES) == set(ifeval._types())


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_graded(punkt, kind):
    kwargs, write = TYPES[kind]
    row = row_with((kind, kwargs))
    ifeval.check(row)
    answer = write(kwargs)
    assert ifeval.fields(row)["prompt"] == "do"
    assert ifeval.group(row) == {}
    assert ifeval.grade(row, answer) == Verdict(score=1.0, parsed=True, parts={"strict": [True], "loose": [True]})
    assert not all(ifeval.grade(row, text).correct for text in UNRELATED)
    assert ifeval.grade(row, " \n") == Verdict(score=0.0, parsed=False, parts={"strict": [False], "loose": [False]})


@pytest.mark.parametrize(
    ("instruction", "right", "wrong"),
    [
        (("keywords:frequency", {"keyword": "fox", "frequency": 2, "relation": "at least"}), "Fox and fox", "a fox"),
        (("keywords:frequency", {"keyword": "fox", "frequency": 2, "relation": "less than"}), "a fox", "fox, fox"),
        (("length_constraints:number_words", {"num_words": 3, "relation": "at least"}), "one, two three", "one two"),
        (("length_constraints:number_words", {"num_words": 3, "relation": "less than"}), "one two", "one two three"),
        (("keywords:existence", {"keywords": ["red", "fox"]}), "The Red FOX", "the fox"),
        (("startend:end_checker", {"end_phrase": "The end."}), 'So it is. the END." ', "The end. Or is it?"),
        (("detectable_content:number_placeholders", {"num_placeholders": 2}), "[name] at [place]", "[name] (place)"),
    ],
)
def test_types_that_need_no_punkt(no_punkt, instruction, right, wrong):
    row = row_with(instruction)
    ifeval.check(row)
    assert ifeval.grade(row, right).correct
    given = ifeval.grade(row, wrong)
    assert (given.correct, given.parsed) == (False, True)


def test_a_correct_completion_follows_every_instruction():
    row = row_with(("keywords:existence", {"keywords": ["fox"]}), ("startend:end_checker", {"end_phrase": "owl"}))
    assert ifeval.grade(row, "fox owl").correct
    assert ifeval.grade(row, "fox").parts == {"strict": [True, False], "loose": [True, False]}
    assert ifeval.grade(row, "owl").parts == {"strict": [False, True], "loose": [False, True]}


@pytest.mark.parametrize("text", ["Sure:\n{}", "{}\nAnything else?", "Sure:\n{}\nAnything else?", "**{}**"])
def test_loose_accuracy_ignores_what_surrounds_an_answer(text):
    given = ifeval.grade(row_with(("startend:quotation", {})), text.format('"so"'))
    assert given.parts == {"strict": [False], "loose": [True]}
    assert given.score == 0


def test_the_frequency_of_a_symbol():
    row = row_with(("keywords:letter_frequency", {"letter": "#", "let_frequency": 4, "let_relation": "at least"}))
    assert ifeval.grade(row, "#a #b #c #d").correct
    assert not ifeval.grade(row, "#a #b #c " + "abcdefghijklmnopqrstuvwxyz" * 4).correct


def test_language_detection_is_deterministic():
    row = row_with(("language:response_language", {"language": "en"}))
    assert len({ifeval.grade(row, "Hello world").correct for _ in range(30)}) == 1


def test_a_text_without_letters_is_graded_without_output(caplog, capfd):
    assert ifeval.grade(row_with(("language:response_language", {"language": "en"})), "1 2 3").correct
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_deeply_nested_json_is_not_followed():
    assert not ifeval.grade(row_with(("detectable_format:json_format", {})), "[" * 10000).correct


def test_further_scores():
    verdicts = [
        Verdict(score=1.0, parsed=True, parts={"strict": [True, True, True], "loose": [True, True, True]}),
        Verdict(score=0.0, parsed=True, parts={"strict": [False], "loose": [True]}),
        Verdict(score=0.0, parsed=True, parts={"strict": [True, False], "loose": [True, False]}),
        Verdict(score=0.0, parsed=False, parts={"strict": [False, False], "loose": [False, False]}),
    ]
    assert ifeval.further_scores(iter(verdicts)) == {
        "prompt_strict": 1 / 4,
        "prompt_loose": 2 / 4,
        "instruction_strict": 4 / 8,
        "instruction_loose": 5 / 8,
    }


@pytest.mark.parametrize("kind", TYPES)
def test_the_error_for_missing_punkt_names_the_command(no_punkt, kind):
    row = row_with((kind, TYPES[kind][0]))
    if kind not in PUNKT:
        return ifeval.check(row)
    with pytest.raises(ValueError, match=f"row 1: {kind} .*: run python -m nltk.downloader punkt_tab$"):
        ifeval.check(row)


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (("keywords:existance", {}), "no instruction type keywords:existance; the nearest is keywords:existence"),
        (("made:up", {}), "no instruction type made:up; "),
        (("length_constraints:number_words", {"relation": "at least"}), "number_words needs num_words"),
        (("startend:end_checker", {"end_phrase": ""}), "end_checker needs end_phrase"),
        (("keywords:existence", {"keywords": ["a", "fox("]}), "existence cannot be checked: .*unterminated"),
        (
            ("keywords:frequency", {"keyword": "**", "frequency": 1, **ATLEAST}),
            "frequency cannot .*nothing to repeat",
        ),
        (("language:response_language", {"language": "xx"}), "response_language cannot be checked: KeyError: 'xx'"),
        (("length_constraints:number_words", {"num_words": 3, "relation": "about"}), "'at least'.* about"),
        (("punctuation:no_comma", {"num_words": 3}), "no_comma cannot be checked: .*num_words"),
    ],
)
def test_invalid_rows_are_refused(instruction, message):
    with pytest.raises(ValueError, match=f"^IFEval row 1: .*{message}"):
        ifeval.check(row_with(("keywords:existence", {"keywords": ["fox"]}), instruction))


def test_a_row_with_lists_of_different_lengths_is_refused():
    with pytest.raises(ValueError, match="row 1: it has 1 instructions and 0 kwargs"):
        ifeval.check({**row_with(("punctuation:no_comma", {})), "kwargs": []})


def test_a_completion_that_failed_follows_no_instruction():
    row = {"key": 1, "prompt": "Hi", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    (id,) = example_ids("ifeval", [row])
    lost = Generation(id=id, prompt=[], completions=(Completion(text="", truncated=False, error="flagged"),))
    (graded,) = grade("ifeval", [row], [lost])
    assert (graded.score, graded.verdicts[0].parts) == (0, {"strict": [False], "loose": [False]})


@pytest.mark.slow
def test_grading_imports_lazily_and_downloads_and_prints_nothing():
    script = """
import socket, sys
from evaluators.benchmarks import ifeval
assert not {"nltk", "lm_eval", "langdetect"} & set(sys.modules)
import nltk
nltk.data.path.clear()
find = nltk.data.find
def refuse(*_): raise SystemExit("a download was attempted")
nltk.download = socket.socket.connect = refuse
row = {"prompt": "", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
ifeval.check(row)
assert ifeval.grade(row, "so").correct
assert nltk.data.find is find
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_verdicts_equal_those_of_lm_eval(punkt):
    rows = [row_with((kind, kwargs)) for kind, (kwargs, _) in TYPES.items()]
    texts = [write(kwargs) for kwargs, write in TYPES.values()]
    compare([(row, text) for row in rows for text in ["", *texts, *UNRELATED]])


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="OFFMODEL_REAL_DATA does not name a folder with the real rows")
def test_verdicts_on_real_rows_equal_those_of_lm_eval(punkt):
    rows = read_rows(str(Path(FOLDER, "ifeval.jsonl")))
    check_columns(rows, ifeval.COLUMNS, "ifeval")
    assert len(rows) == 541
    answers, random_keys = [], []
    for row in rows:
        ifeval.check(row)
        instructions = list(zip(row["instruction_id_list"], row["kwargs"], strict=True))
        random_keys += [row["key"] for kind, kwargs in instructions if is_random(kind, kwargs)]
        following = [TYPES[kind][1](kwargs) for kind, kwargs in instructions]
        rng = random.Random(row["prompt"])  # The same in each run.
        kwargs, write = rng.choice(list(TYPES.values()))
        prompt = row["prompt"]
        repeated = rng.choice([prompt, prompt.upper(), prompt.lower(), f"**{prompt}**", f'"{prompt}"', prompt * 20])
        around = f"Sure:\n\n\n{rng.choice(following)}\nSo much for that."
        texts = ["", *following, "\n".join(following), around, write(kwargs), repeated, rng.choice(UNRELATED)]
        answers += [(row, text) for text in dict.fromkeys(texts)]
    assert random_keys == [1122, 1129]
    compare(answers)
