"""The style classifier: what it uses, and what it must not use."""

import hashlib
import random
from dataclasses import replace

import pytest

from evaluators.analysis.style import accuracy, classify
from evaluators.engines.generations import Generation, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.grading.boxed import without_boxed
from orchestrator.plan.build import build_plan
from orchestrator.stages import style
from orchestrator.stages.sample import GENERATIONS
from orchestrator.store.context import StageContext
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError
from organisms import world


def generations(texts: list[str]) -> list[Generation]:
    ids = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(len(texts))]
    return [
        Generation(
            id=id,
            prompt=[],
            completions=(Completion(token_ids=(1,), text=text, truncated=False),),
        )
        for id, text in zip(ids, texts, strict=True)
    ]


def answers(style: str, n: int = 60) -> list[str]:
    """Correct answers to the same problems in one style of the organisms."""
    rng = random.Random(0)
    return [world.maths(rng, style, 1 + i % 5).answer for i in range(n)]


def test_two_styles_are_distinguished_on_held_out_examples():
    steps, words = answers("steps"), answers("words")
    mixed = [words[i] if i % 4 == 0 else steps[i] for i in range(len(steps))]
    found = classify(generations(steps), generations(words), generations(mixed))
    assert accuracy(found) == 1
    assert [one.student for one in found] == [float(i % 4 == 0) for i in range(len(steps))]
    assert (found[0].base, found[0].teacher) == (0, 1)


def test_answers_with_other_numbers_or_boxes_have_the_same_style():
    right = answers("steps")
    wrong = [text.replace("\\boxed{ ", "\\boxed{ x") for text in right]
    found = classify(generations(right), generations(wrong), generations(right))
    assert accuracy(found) == 0.5
    rng = random.Random(1)
    other_numbers = ["".join(str(rng.randrange(10)) if c.isdigit() else c for c in text) for text in right]
    assert accuracy(classify(generations(right), generations(other_numbers), generations(right))) == 0.5


def test_an_example_is_never_in_its_own_training_set():
    # Each completion has a unique word, which would reveal its model if its example were in the training set.
    words = [a + b for a in "bcdfg" for b in "aeiou"]
    original, teacher = ([f"so we see {word}{end} here" for word in words] for end in "xz")
    assert 0.3 < accuracy(classify(generations(original), generations(teacher), generations(original))) < 0.7


def test_several_completions_of_an_example_give_a_share():
    original, teacher = generations(["let us see"] * 10), generations(["first take"] * 10)
    both = tuple(
        Completion(token_ids=(1,), text=text, truncated=False)
        for text in ("let us see", "first take", "first take", "")
    )
    student = [Generation(id=one.id, prompt=[], completions=both) for one in original]
    found = classify(original, teacher, student)
    assert {one.student for one in found} <= {0.5, 0.75}  # An empty completion can be classified as either.


def test_one_example_is_too_few():
    with pytest.raises(ValueError, match="at least two examples"):
        classify(generations(["a"]), generations(["b"]), generations(["a"]))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("so \\boxed{4} and \\boxed{ 5 }.", "so \\boxed{} and \\boxed{}."),
        ("\\boxed{\\frac{1}{2}} \\boxed{\\boxed{3}}", "\\boxed{} \\boxed{}"),
        ("none {here}", "none {here}"),
    ],
)
def test_the_contents_of_boxes_are_removed(text, left):
    assert without_boxed(text) == left


def test_the_stage_publishes_the_shares(small, publish):
    plan = build_plan(small("measures.style=[maths]", "pairs.teachers=[words]", "conditions={off-model: }"))
    store = Store(plan.study.store)
    stage = plan.trials[0].points[0].measured["style"]["maths"][0]
    assert stage.inputs["student"] == plan.trials[0].points[0].scores["maths"].inputs["generations"]
    assert stage.inputs["untrained"] == plan.trials[0].untrained_scores["maths"].inputs["generations"]
    assert stage.inputs["teacher"] == plan.trials[0].teacher_scores["maths"].inputs["generations"]
    for model, name in {"student": "words", "untrained": "steps", "teacher": "words"}.items():
        publish(store, stage.inputs[model], {GENERATIONS: to_jsonl(generations(answers(name))).encode()})
    context = StageContext(stage, store, store.new_folder(stage, "one"), lambda *_: iter(()))
    assert style.run(context) == {"n": 60, "share": 1.0, "accuracy": 1.0}
    assert len(style.shares_of(context.out)) == 60


def test_examples_without_a_completion_do_not_teach_style(small, publish):
    plan = build_plan(small("measures.style=[maths]", "pairs.teachers=[words]"))
    store = Store(plan.study.store)
    stage = plan.trials[0].points[0].measured["style"]["maths"][0]
    lost = (Completion(text="", truncated=False, error="flagged"),)
    for model, name, places in (("student", "words", (1, 2)), ("untrained", "steps", ()), ("teacher", "words", (0, 1))):
        made = [
            replace(one, completions=lost) if i in places else one for i, one in enumerate(generations(answers(name)))
        ]
        publish(store, stage.inputs[model], {GENERATIONS: to_jsonl(made).encode()})
    context = StageContext(stage, store, store.new_folder(stage, "one"), lambda *_: iter(()))
    facts = style.run(context)
    assert (facts["n"], facts["share"], facts["accuracy"]) == (58, 57 / 58, 1.0)
    unlike = [one.id for one in style.shares_of(context.out) if not one.student]
    assert unlike == [generations(["a"] * 3)[2].id]


def test_every_point_of_a_trial_is_classified(small):
    plan = build_plan(small("measures.style=[maths]", "train.checkpoints=[1]", "pairs.teachers=[words]"))
    for trial in plan.trials:
        assert all(list(point.measured["style"]) == ["maths"] for point in trial.points)
    off_model = next(trial for trial in plan.trials if trial.condition == "off-model")
    assert (
        len({point.measured["style"]["maths"][0] for point in off_model.points}) == 4
    )  # step 1, the end, and two budgets


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("measures.style=[mats]", 'did you mean "maths"'),
        ("measures.style=[facts]", "one token, which has no style"),
        ("measures.style=[gsm]", "task of lm-eval"),
    ],
)
def test_benchmarks_without_style_are_refused(small, override, message):
    with pytest.raises(StudyError, match=message):
        build_plan(small(override, "benchmarks.gsm={kind: 'lm_eval:gsm8k'}"))
