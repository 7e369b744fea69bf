"""The probe of style: what it tells apart, and what it must not."""

import hashlib
import random

import pytest

from evaluators.analysis.style import accuracy, read
from evaluators.engines.generations import Generation, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.grading.boxed import without_boxed
from orchestrator.plan.build import build_plan
from orchestrator.stages import style
from orchestrator.stages.sample import ANSWERS
from orchestrator.store.context import StageContext
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError
from organisms import world


def asked(texts: list[str]) -> list[Generation]:
    ids = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(len(texts))]
    return [
        Generation(
            id=id,
            prompt=[],
            prompt_token_ids=(),
            prefill_token_ids=(),
            completions=(Completion(token_ids=(1,), text=text, truncated=False),),
        )
        for id, text in zip(ids, texts, strict=True)
    ]


def answers(style: str, n: int = 60) -> list[str]:
    """Right answers to the same problems in a style of the organisms."""
    rng = random.Random(0)
    return [world.maths(rng, style, 1 + i % 5).answer for i in range(n)]


def test_answers_in_two_styles_are_told_apart_on_examples_that_the_probe_has_not_seen():
    steps, words = answers("steps"), answers("words")
    mixed = [words[i] if i % 4 == 0 else steps[i] for i in range(len(steps))]
    found = read(asked(steps), asked(words), asked(mixed))
    assert accuracy(found) == 1
    assert [one.student for one in found] == [float(i % 4 == 0) for i in range(len(steps))]
    assert (found[0].original, found[0].teacher) == (0, 1)


def test_an_answer_that_only_comes_to_something_else_reads_alike():
    right = answers("steps")
    wrong = [text.replace("\\boxed{ ", "\\boxed{ x") for text in right]
    found = read(asked(right), asked(wrong), asked(right))
    assert accuracy(found) == 0.5
    rng = random.Random(1)
    other_numbers = ["".join(str(rng.randrange(10)) if c.isdigit() else c for c in text) for text in right]
    assert accuracy(read(asked(right), asked(other_numbers), asked(right))) == 0.5


def test_what_the_probe_has_seen_of_an_example_does_not_tell_its_answers():
    # Each answer has a word that is in no other: seen once, it would give the answer away.
    words = [a + b for a in "bcdfg" for b in "aeiou"]
    original, teacher = ([f"so we see {word}{end} here" for word in words] for end in "xz")
    assert 0.3 < accuracy(read(asked(original), asked(teacher), asked(original))) < 0.7


def test_several_answers_to_an_example_are_a_share_of_it():
    original, teacher = asked(["let us see"] * 10), asked(["first take"] * 10)
    both = tuple(
        Completion(token_ids=(1,), text=text, truncated=False)
        for text in ("let us see", "first take", "first take", "")
    )
    student = [
        Generation(id=one.id, prompt=[], prompt_token_ids=(), prefill_token_ids=(), completions=both)
        for one in original
    ]
    found = read(original, teacher, student)
    assert {one.student for one in found} <= {0.5, 0.75}  # An empty answer reads like either.


def test_one_example_is_too_few():
    with pytest.raises(ValueError, match="two examples"):
        read(asked(["a"]), asked(["b"]), asked(["a"]))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("so \\boxed{4} and \\boxed{ 5 }.", "so \\boxed{} and \\boxed{}."),
        ("\\boxed{\\frac{1}{2}} \\boxed{\\boxed{3}}", "\\boxed{} \\boxed{}"),
        ("none {here}", "none {here}"),
    ],
)
def test_boxes_are_emptied(text, left):
    assert without_boxed(text) == left


def test_the_stage_leaves_the_shares(small, publish):
    plan = build_plan(small("measures.style=[maths]", "pairs.teachers=[words]", "conditions={off-model: }"))
    store = Store(plan.study.store)
    stage = plan.trials[0].steps[0].style["maths"]
    assert stage.inputs["student"] == plan.trials[0].steps[0].scores["maths"].inputs["answers"]
    assert stage.inputs["original"] == plan.trials[0].original["maths"].inputs["answers"]
    assert stage.inputs["teacher"] == plan.trials[0].teacher_scores["maths"].inputs["answers"]
    for whose, told in {"student": "words", "original": "steps", "teacher": "words"}.items():
        publish(store, stage.inputs[whose], {ANSWERS: to_jsonl(asked(answers(told))).encode()})
    work = StageContext(stage, store, store.new_folder(stage, "one"), lambda *_: iter(()))
    assert style.run(work) == {"n": 60, "share": 1.0, "accuracy": 1.0}
    assert len(style.read_of(work.out)) == 60


def test_every_point_of_a_trial_is_read(small):
    plan = build_plan(small("measures.style=[maths]", "train.checkpoints=[1]", "pairs.teachers=[words]"))
    for trial in plan.trials:
        assert all(list(step.style) == ["maths"] for step in trial.steps)
    off_model = next(trial for trial in plan.trials if trial.condition == "off-model")
    assert len({step.style["maths"] for step in off_model.steps}) == 4  # step 1, the end, and two budgets


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("measures.style=[mats]", 'did you mean "maths"'),
        ("measures.style=[facts]", "one token, which has no style"),
        ("measures.style=[gsm]", "task of lm-eval"),
    ],
)
def test_what_has_no_style_is_refused(small, override, said):
    with pytest.raises(StudyError, match=said):
        small(override, "benchmarks.gsm={kind: 'lm_eval:gsm8k'}")
