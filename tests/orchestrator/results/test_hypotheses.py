"""Findings: refused where the study would not measure them, and judged on hand-made evaluations."""

import itertools
import json

import pytest

from evaluators.analysis.logprobs import CompletionLogprobs
from evaluators.analysis.statistics import Interval
from evaluators.analysis.style import StyleShares
from evaluators.engines.generations import to_jsonl
from orchestrator.plan.build import build_plan
from orchestrator.plan.hypotheses import check_parts, halves
from orchestrator.results import hypotheses
from orchestrator.results.read import Measured, read_results
from orchestrator.stages.logprobs import LIKELIHOODS
from orchestrator.stages.style import SHARES
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError
from tests.orchestrator.results.test_results import publish_evaluation

MATHS = "compare: {condition: off-model, benchmark: maths}, expected: lower"


def finding(text: str = MATHS, claim: str = "c") -> str:
    return f"hypotheses=[{{experiment: 1, claim: {claim}, {text}}}]"


@pytest.mark.parametrize(
    ("effect", "expected", "margin", "said"),
    [
        ((-0.2, -0.1), "lower", None, hypotheses.FOUND),
        ((-0.2, -0.1), "higher", None, hypotheses.OPPOSITE),
        ((0.1, 0.2), "lower", None, hypotheses.OPPOSITE),
        ((0.1, 0.2), "higher", None, hypotheses.FOUND),
        ((-0.1, 0.2), "lower", None, hypotheses.NOT_FOUND),
        ((-0.2, 0.0), "lower", None, hypotheses.NOT_FOUND),
        ((-0.04, 0.05), "same", 0.05, hypotheses.FOUND),
        ((-0.06, 0.02), "same", 0.05, hypotheses.NOT_FOUND),
        ((-0.2, -0.06), "same", 0.05, hypotheses.OPPOSITE),
        ((0.06, 0.2), "same", 0.05, hypotheses.OPPOSITE),
        ((-0.2, 0.2), "same", 0.05, hypotheses.NOT_FOUND),
    ],
)
def test_a_verdict_is_on_the_whole_interval(effect, expected, margin, said):
    low, high = effect
    assert hypotheses.verdict(Interval((low + high) / 2, low, high), expected, margin) == said


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("compare: {condition: off-modle, benchmark: maths}, expected: lower", ["compare.condition", '"off-model"?']),
        ("compare: {condition: off-model, benchmark: mats}, expected: lower", ["compare.benchmark", '"maths"?']),
        ("compare: {condition: off-model}, expected: lower", ["compare.benchmark: missing"]),
        ("compare: off-model, expected: lower", ["compare.benchmark: missing"]),
        (f"{MATHS}, versus: onmodel", ["versus.condition", '"on-model"?']),
        (f"{MATHS}, versus: off-model", ["off-model of student / words is compared with itself"]),
        (f"{MATHS}, versus: {{condition: original, benchmark: facts}}", ["maths and facts ask different examples"]),
        (f"{MATHS}, versus: {{condition: original, budget: 4}}", ["original is a model as it is"]),
        (
            f"{MATHS}, versus: {{condition: off-model, budget: 5}}",
            ["versus: off-model, then 5", "budget 4 of own, budget 8 of own"],
        ),
        (f"{MATHS}, versus: {{condition: on-model, budget: 4}}", ["no point of its trials", "budget 0"]),
        (f"{MATHS}, versus: {{condition: off-model, step: 3}}", ["off-model at step 3 is no point"]),
        (f"{MATHS}, versus: {{condition: off-model, step: 3, budget: 4}}", ["leave budget and recovery out"]),
        (f"{MATHS}, versus: {{condition: off-model, recovery: own}}", ["recovery has no effect without a budget"]),
        (f"{MATHS}, versus: {{condition: off-model, budget: 4, recovery: owm}}", ["versus.recovery", '"own"?']),
        (f"{MATHS}, versus: {{condition: on-model, teacher: wrds}}", ["versus.teacher", 'did you mean "words"?']),
        ("compare: {condition: prefill, benchmark: facts}, expected: lower", ["prefill does not ask it"]),
        ("compare: {condition: off-model, benchmark: maths}, expected: same", ["margin: ", "needs one"]),
        (f"{MATHS}, margin: 0.1", ["lower and higher take none"]),
        (f"{MATHS}, metric: kl", ["measures.kl"]),
        (f"{MATHS}, metric: style", ["measures.style"]),
        (f"{MATHS}, metric: kl, group_by: level", ["by has no effect on kl"]),
        (
            "metric: perplexity, compare: off-model, expected: lower",
            ["versus: perplexity is of what a condition trains on"],
        ),
        ("metric: perplexity, compare: off-model, versus: on-model, expected: lower", ["set measures.perplexity"]),
        (
            "metric: perplexity, compare: {condition: off-model, step: 2}, versus: on-model, expected: lower",
            ["leave benchm"],
        ),
        (f"{MATHS}, verus: on-model", ['unknown key; did you mean "versus"?']),
        (f"{MATHS}, of: scores", ["hypotheses.0.of"]),
    ],
)
def test_a_finding_that_the_study_would_not_measure_is_refused(small, text, parts):
    with pytest.raises(StudyError) as caught:
        build_plan(small(finding(text)))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_condition_may_not_bear_the_name_of_a_model_as_it_is(small):
    with pytest.raises(StudyError, match=r"conditions\.original"):
        build_plan(small("conditions.original={kind: off_model}", finding()))


def test_parts_are_checked_on_the_rows(small):
    check_parts(small(finding(f"{MATHS}, group_by: level")))
    with pytest.raises(ValueError, match='did you mean "level"'):
        check_parts(small(finding(f"{MATHS}, group_by: levels")))
    with pytest.raises(ValueError, match="have no order"):
        check_parts(small("benchmarks.maths.kind=math500", finding(f"{MATHS}, group_by: subject")))


def test_halves_leave_the_middle_out():
    assert halves([5, 1, 2, 3, 4, 4]) == ({1, 2}, {4, 5})
    assert halves([1, 2, 10, 9]) == ({1, 2}, {9, 10})
    with pytest.raises(ValueError, match="one part only"):
        halves([1, 1])


@pytest.fixture
def judged(small, publish, tmp_path):
    """Judges the findings of a study of which the evaluations are these letters, by condition, budget and seed."""
    stores = (f"store={tmp_path / str(number)}" for number in itertools.count())

    def act(given: dict, *overrides: str) -> list[hypotheses.HypothesisResult]:
        conditions = "conditions={off-model: , on-model: }"
        study = small(
            conditions,
            "recoveries.own.budgets=[4]",
            "pairs.teachers=[words]",
            "seeds=[1, 2]",
            next(stores),
            *overrides,
        )
        plan, store = build_plan(study), Store(study.store)
        letters = {}
        for trial in plan.trials:
            letters |= dict.fromkeys(trial.original.values(), "+" * 20)
            letters |= dict.fromkeys(trial.teacher_scores.values(), "+-" * 10)
            for step in trial.steps:
                told = given.get((trial.condition, step.budget, trial.seed), given.get((trial.condition, step.budget)))
                if told is not None:
                    letters |= dict.fromkeys(step.scores.values(), told)
                    for stage in step.style.values():
                        read = [StyleShares(str(i), 0.0, 1.0, float(letter == "-")) for i, letter in enumerate(told)]
                        publish(store, stage, {SHARES: to_jsonl(read).encode()})
        for stage, each in letters.items():
            publish_evaluation(publish, store, stage, each)
        for stage in plan.stages:
            if stage.kind == "logprobs":
                nats = 3.0 if "off-model" in stage.name or "words" in stage.name else 1.0
                rows = [CompletionLogprobs(str(i), {"all": -nats * 3 - i / 10}, {"all": 3}) for i in range(9)]
                publish(store, stage, {LIKELIHOODS: to_jsonl(rows).encode()})
        measured = Measured(store, store.records(plan.stages))
        return hypotheses.evaluate_hypotheses(plan, read_results(plan, measured), measured)

    return act


DONE = {
    ("off-model", 0): "-" * 14 + "+" * 6,
    ("off-model", 4): "+" * 18 + "--",
    ("on-model", 0): "+" * 20,
}


def test_a_loss_is_found_and_a_gain_would_be_opposite(judged):
    (found,) = judged(DONE, finding())
    assert (found.verdict, found.n, found.seeds) == (hypotheses.FOUND, 20, [1, 2])
    assert found.effect.value == pytest.approx(-14 / 20)
    assert (found.compared, found.versus, found.note) == ("off-model", "original", "")
    (found,) = judged(DONE, finding(MATHS.replace("lower", "higher")))
    assert found.verdict == hypotheses.OPPOSITE


def test_two_trained_students_are_compared_on_the_same_examples(judged):
    text = "compare: {condition: off-model, budget: 4, benchmark: maths}, versus: off-model, expected: higher"
    (found,) = judged(DONE, finding(text))
    assert (found.verdict, found.compared, found.versus) == (hypotheses.FOUND, "off-model, then 4", "off-model")
    assert found.effect.value == pytest.approx(12 / 20)
    # The sizes of both changes from the original alone would say the same of students that lose different examples.
    apart = {**DONE, ("off-model", 0): "-" * 10 + "+" * 10, ("off-model", 4): "+" * 10 + "-" * 10}
    (found,) = judged(apart, finding(text))
    assert (found.verdict, found.effect.value) == (hypotheses.NOT_FOUND, 0)
    assert found.effect.high - found.effect.low > 0.7


def test_the_same_is_within_a_margin(judged):
    text = "compare: {condition: on-model, benchmark: maths}, expected: same, margin"
    assert judged(DONE, finding(f"{text}: 0.3"))[0].verdict == hypotheses.FOUND
    assert judged(DONE, finding(f"{text}: 0.05"))[0].verdict == hypotheses.NOT_FOUND  # 20 examples cannot show it


def test_a_student_is_compared_with_its_teacher(judged):
    (found,) = judged(DONE, finding(f"{MATHS}, versus: teacher"))
    assert found.effect.value == pytest.approx(6 / 20 - 1 / 2)
    (found,) = judged({}, finding("compare: {condition: teacher, benchmark: maths}, expected: lower"))
    assert (found.verdict, found.seeds, found.effect.value) == (hypotheses.FOUND, [], -0.5)


def test_the_higher_half_of_the_levels_against_the_lower(judged):
    worse_above = {**DONE, ("off-model", 0): "+-" * 10}  # every other example has level 2
    (found,) = judged(worse_above, finding(f"{MATHS}, group_by: level"))
    assert (found.verdict, found.effect.value, found.n) == (hypotheses.FOUND, -1, 20)
    (found,) = judged({**DONE, ("off-model", 0): "-" * 20}, finding(f"{MATHS}, group_by: level"))
    assert (found.verdict, found.effect.value) == (hypotheses.NOT_FOUND, 0)


def test_what_has_not_finished_is_not_measured(judged):
    given = {("off-model", 0): "-" * 20, ("off-model", 4, 1): "+" * 20}
    (found,) = judged(given, finding())
    assert (found.verdict, found.effect) == (hypotheses.NOT_MEASURED, None)
    assert found.note == "student.words.off-model.own.s2 has not finished"


def test_a_budget_that_a_search_left_out_is_not_measured(judged):
    text = "compare: {condition: off-model, budget: 8, benchmark: maths}, expected: lower"
    given = {**DONE, ("off-model", 4): "+" * 20}
    (found,) = judged(
        given,
        "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4, 8], search: {benchmark: maths}}",
        finding(text),
    )
    assert (found.verdict, "its search did not come to it" in found.note) == (hypotheses.NOT_MEASURED, True)


def test_perplexity_and_kl_are_in_nats_a_token(judged):
    text = "metric: perplexity, compare: off-model, versus: on-model, expected: higher"
    (found,) = judged(DONE, "measures.perplexity=true", finding(text))
    assert (found.verdict, found.n, found.seeds) == (hypotheses.FOUND, 9, [])
    assert found.effect.value == pytest.approx(2.0)
    text = "metric: kl, compare: {condition: off-model, benchmark: maths}, expected: same, margin: 0.01"
    (found,) = judged(DONE, "measures.kl=[maths]", finding(text))
    assert (found.verdict, found.n, found.effect.value) == (hypotheses.FOUND, 9, 0)


def test_style_is_a_share_of_answers(judged):
    text = "metric: style, compare: {condition: off-model, benchmark: maths}, expected: higher"
    (found,) = judged(DONE, "measures.style=[maths]", finding(text))
    assert (found.verdict, found.effect.value) == (hypotheses.FOUND, pytest.approx(14 / 20))
    (found,) = judged(DONE, "measures.style=[maths]", finding(f"{text}, versus: teacher".replace("higher", "lower")))
    assert found.effect.value == pytest.approx(14 / 20 - 1)


def test_every_pair_is_judged_by_itself_unless_one_is_named(judged):
    both = "pairs.teachers=[words, terse]"
    assert [one.teacher for one in judged(DONE, both, finding())] == ["words", "terse"]
    named = "compare: {condition: off-model, benchmark: maths, teacher: terse}, expected: lower"
    (found,) = judged(DONE, both, finding(f"{named}, versus: {{condition: off-model, teacher: words}}"))
    assert (found.teacher, found.versus, found.effect.value) == ("terse", "off-model, teacher words", 0)


def test_a_finding_is_told_in_words(judged):
    found = json.loads(json.dumps([one.__dict__ | {"effect": one.effect.__dict__} for one in judged(DONE, finding())]))
    assert hypotheses.compared(found[0]) == "off-model on maths"
    assert hypotheses.size(found[0]) == "20 x 2"
    assert hypotheses.counted([*found, *found, {"verdict": hypotheses.OPPOSITE}]) == "2 found, 1 opposite"


TWICE = "recoveries={own: {kind: on_model_sft, conditions: [off-model], budgets: [4]}, again: {kind: on_model_sft, \
conditions: [off-model], budgets: [4], train: {num_train_epochs: 2}}}"


def test_of_several_recoveries_one_is_named(small, judged):
    text = "compare: {condition: off-model, benchmark: maths, budget: 4}, expected: lower"
    with pytest.raises(StudyError, match="say of which"):
        build_plan(small(TWICE, finding(text)))
    (found,) = judged(DONE, TWICE, finding(text.replace("4}", "4, recovery: again}")))
    assert (found.compared, found.effect.value) == ("off-model, then 4 of again", pytest.approx(-2 / 20))
    (found,) = judged(DONE, TWICE, finding())  # what comes before any recovery is of all of them
    assert (found.verdict, found.seeds) == (hypotheses.FOUND, [1, 2])
