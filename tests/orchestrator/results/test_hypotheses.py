"""Hypotheses: refused if the study does not measure them, and tested on hand-made evaluations."""

import itertools
from dataclasses import replace

import pytest

from evaluators.analysis.logprobs import CompletionLogprobs
from evaluators.analysis.statistics import Interval
from evaluators.analysis.style import StyleShares
from evaluators.engines.generations import to_jsonl
from orchestrator.plan.build import build_plan
from orchestrator.plan.files import needs_no_network
from orchestrator.plan.hypotheses import check_parts
from orchestrator.results import hypotheses
from orchestrator.results.model import HypothesisResult
from orchestrator.results.read import read_results
from orchestrator.stages.logprobs import LOGPROBS
from orchestrator.stages.style import SHARES
from orchestrator.store.reader import StageReader
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError
from tests.orchestrator.results.test_results import publish_evaluation

MATHS = "compare: {condition: off-model, benchmark: maths}, expected: lower"


def hypothesis(text: str = MATHS, claim: str = "c", source: str = "ours") -> str:
    return f"hypotheses=[{{experiment: 1, source: {source}, claim: {claim}, {text}}}]"


@pytest.mark.parametrize(
    ("effect", "expected", "margin", "said"),
    [
        ((-0.2, -0.1), "lower", None, hypotheses.SUPPORTED),
        ((-0.2, -0.1), "higher", None, hypotheses.CONTRADICTED),
        ((0.1, 0.2), "lower", None, hypotheses.CONTRADICTED),
        ((0.1, 0.2), "higher", None, hypotheses.SUPPORTED),
        ((-0.1, 0.2), "lower", None, hypotheses.INCONCLUSIVE),
        ((-0.2, 0.0), "lower", None, hypotheses.INCONCLUSIVE),
        ((-0.04, 0.05), "same", 0.05, hypotheses.SUPPORTED),
        ((-0.06, 0.02), "same", 0.05, hypotheses.INCONCLUSIVE),
        ((-0.2, -0.06), "same", 0.05, hypotheses.CONTRADICTED),
        ((0.06, 0.2), "same", 0.05, hypotheses.CONTRADICTED),
        ((-0.2, 0.2), "same", 0.05, hypotheses.INCONCLUSIVE),
    ],
)
def test_an_outcome_needs_the_whole_interval(effect, expected, margin, said):
    low, high = effect
    assert hypotheses.outcome(Interval((low + high) / 2, low, high), expected, margin) == said


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("compare: {condition: off-modle, benchmark: maths}, expected: lower", ["compare.condition", '"off-model"?']),
        ("compare: {condition: off-model, benchmark: mats}, expected: lower", ["compare.benchmark", '"maths"?']),
        ("compare: {condition: off-model}, expected: lower", ["compare.benchmark: missing"]),
        ("compare: off-model, expected: lower", ["compare.benchmark: missing"]),
        (f"{MATHS}, versus: onmodel", ["versus.condition", '"on-model"?']),
        (f"{MATHS}, versus: off-model", ["off-model of student / words is compared with itself"]),
        (f"{MATHS}, versus: {{condition: untrained, benchmark: facts}}", ["maths and facts have different examples"]),
        (f"{MATHS}, versus: {{condition: untrained, budget: 4}}", ["untrained is an untrained model"]),
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
        ("compare: {condition: prefill, benchmark: facts}, expected: lower", ["prefill is not evaluated on it"]),
        ("compare: {condition: off-model, benchmark: maths}, expected: same", ["expected: same needs a margin"]),
        (f"{MATHS}, margin: 0.1", ["margin has no effect on expected: lower"]),
        (f"{MATHS}, metric: kl", ["add kl to measures"]),
        (f"{MATHS}, metric: style", ["add style to measures"]),
        (f"{MATHS}, metric: stile", ['did you mean "style"?']),
        (
            "metric: perplexity, compare: off-model, expected: lower",
            ["add perplexity to measures"],
        ),
        (f"{MATHS}, verus: on-model", ['unknown key; did you mean "versus"?']),
        (f"{MATHS}, of: scores", ["hypotheses.0.of"]),
    ],
)
def test_a_hypothesis_that_the_study_does_not_measure_is_refused(small, text, parts):
    with pytest.raises(StudyError) as caught:
        build_plan(small(hypothesis(text)))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


KL = "measures.kl=[maths]"
PERPLEXITY = "metric: perplexity, expected: lower, compare"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"{MATHS}, metric: kl, group_by: level", ["group_by has no effect on kl"]),
        (f"{MATHS}, metric: kl, versus: teacher", ["versus: kl is not measured of the teacher"]),
        (f"{MATHS.replace('maths', 'facts')}, metric: kl", ["measures.kl", 'did you mean "maths"?', "facts"]),
        (f"{PERPLEXITY}: off-model", ["versus: perplexity is not measured of the untrained"]),
        (
            f"{PERPLEXITY}: {{condition: off-model, step: 2}}, versus: on-model",
            ["leave benchmark, budget and step out"],
        ),
    ],
)
def test_a_hypothesis_about_something_that_a_measure_does_not_have_is_refused(small, text, parts):
    with pytest.raises(StudyError) as caught:
        build_plan(small(KL, "measures.perplexity=true", hypothesis(text)))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_condition_may_not_have_the_name_of_an_untrained_model(small):
    with pytest.raises(StudyError, match=r"conditions\.untrained"):
        build_plan(small("conditions.untrained={kind: off_model}", hypothesis()))


def test_parts_are_checked_on_the_rows(small):
    check_parts(small(hypothesis(f"{MATHS}, group_by: level")), needs_no_network)
    with pytest.raises(ValueError, match='did you mean "level"'):
        check_parts(small(hypothesis(f"{MATHS}, group_by: levels")), needs_no_network)
    with pytest.raises(ValueError, match="have no order"):
        check_parts(small("benchmarks.maths.kind=math500", hypothesis(f"{MATHS}, group_by: subject")), needs_no_network)


@pytest.fixture
def tested(small, publish, tmp_path):
    """Tests the hypotheses of a study whose evaluations are these letters, by condition, budget and seed."""
    stores = (f"store={tmp_path / str(number)}" for number in itertools.count())

    def act(given: dict, *overrides: str, samples: int | None = None) -> list[HypothesisResult]:
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
            letters |= dict.fromkeys(trial.untrained_scores.values(), "+" * 20)
            letters |= dict.fromkeys(trial.teacher_scores.values(), "+-" * 10)
            for point in trial.points:
                told = given.get(
                    (trial.condition, point.budget, trial.seed), given.get((trial.condition, point.budget))
                )
                if told is not None:
                    letters |= dict.fromkeys(point.scores.values(), told)
                    for (stage,) in point.measured.get("style", {}).values():
                        read = [StyleShares(str(i), 0.0, 1.0, float(letter == "-")) for i, letter in enumerate(told)]
                        publish(store, stage, {SHARES: to_jsonl(read).encode()})
        for stage, each in letters.items():
            publish_evaluation(publish, store, stage, each)
        for stage in plan.stages:
            if stage.kind == "sample" and stage.runtime.benchmark is None and samples is not None:
                publish(store, stage, {}, n=samples, truncated=0.0)
            if stage.kind == "logprobs":
                nats = 3.0 if "off-model" in stage.name or "words" in stage.name else 1.0
                rows = [CompletionLogprobs(str(i), {"all": -nats * 3 - i / 10}, {"all": 3}) for i in range(9)]
                publish(store, stage, {LOGPROBS: to_jsonl(rows).encode()})
        return read_results(plan, StageReader(store, store.records(plan.stages))).hypotheses

    return act


DONE = {
    ("off-model", 0): "-" * 14 + "+" * 6,
    ("off-model", 4): "+" * 18 + "--",
    ("on-model", 0): "+" * 20,
}


def test_a_loss_is_supported_and_a_gain_contradicted(tested):
    (found,) = tested(DONE, hypothesis())
    assert (found.outcome, found.n, found.seeds) == (hypotheses.SUPPORTED, 20, [1, 2])
    assert found.effect.value == pytest.approx(-14 / 20)
    assert (found.compared, found.versus, found.note) == ("off-model", "untrained", "")
    assert found.values == (pytest.approx(6 / 20), 1.0)
    (found,) = tested(DONE, hypothesis(MATHS.replace("lower", "higher")))
    assert found.outcome == hypotheses.CONTRADICTED


def test_two_trained_students_are_compared_on_the_same_examples(tested):
    text = "compare: {condition: off-model, budget: 4, benchmark: maths}, versus: off-model, expected: higher"
    (found,) = tested(DONE, hypothesis(text))
    assert (found.outcome, found.compared, found.versus) == (hypotheses.SUPPORTED, "off-model, then 4", "off-model")
    assert found.effect.value == pytest.approx(12 / 20)
    # The sizes of both changes from the original alone would say the same of students that lose different examples.
    apart = {**DONE, ("off-model", 0): "-" * 10 + "+" * 10, ("off-model", 4): "+" * 10 + "-" * 10}
    (found,) = tested(apart, hypothesis(text))
    assert (found.outcome, found.effect.value) == (hypotheses.INCONCLUSIVE, 0)
    assert found.effect.high - found.effect.low > 0.7


def test_same_means_within_a_margin(tested):
    text = "compare: {condition: on-model, benchmark: maths}, expected: same, margin"
    assert tested(DONE, hypothesis(f"{text}: 0.3"))[0].outcome == hypotheses.SUPPORTED
    assert tested(DONE, hypothesis(f"{text}: 0.05"))[0].outcome == hypotheses.INCONCLUSIVE  # 20 examples cannot show it


def test_a_student_is_compared_with_its_teacher(tested):
    (found,) = tested(DONE, hypothesis(f"{MATHS}, versus: teacher"))
    assert found.effect.value == pytest.approx(6 / 20 - 1 / 2)
    (found,) = tested({}, hypothesis("compare: {condition: teacher, benchmark: maths}, expected: lower"))
    assert (found.outcome, found.seeds, found.effect.value) == (hypotheses.SUPPORTED, [], -0.5)


def test_the_higher_half_of_the_levels_against_the_lower(tested):
    worse_above = {**DONE, ("off-model", 0): "+-" * 10}  # every other example has level 2
    (found,) = tested(worse_above, hypothesis(f"{MATHS}, group_by: level"))
    assert (found.outcome, found.effect.value, found.n) == (hypotheses.SUPPORTED, -1, 20)
    (found,) = tested({**DONE, ("off-model", 0): "-" * 20}, hypothesis(f"{MATHS}, group_by: level"))
    assert (found.outcome, found.effect.value) == (hypotheses.INCONCLUSIVE, 0)


def test_a_point_that_all_seeds_have_finished_is_measured_although_a_trial_has_not(tested):
    given = {("off-model", 0): "-" * 20, ("off-model", 4, 1): "+" * 20}
    (found,) = tested(given, hypothesis())
    assert (found.outcome, found.effect.value) == (hypotheses.SUPPORTED, -1)
    text = "compare: {condition: off-model, budget: 4, benchmark: maths}, expected: higher"
    (found,) = tested(given, hypothesis(text))
    assert (found.outcome, found.effect) == (hypotheses.NOT_MEASURED, None)
    assert found.note == "student.words.off-model.own.s2 has not finished it"


def test_a_budget_that_a_search_did_not_run_is_not_measured(tested):
    text = "compare: {condition: off-model, budget: 8, benchmark: maths}, expected: lower"
    given = {**DONE, ("off-model", 4): "+" * 20}
    (found,) = tested(
        given,
        "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4, 8], search: {benchmark: maths}}",
        hypothesis(text),
    )
    assert (found.outcome, "its search did not come to it" in found.note) == (hypotheses.NOT_MEASURED, True)


BOTH = "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4, 8], too_few_samples: %s}"


@pytest.mark.parametrize(("how", "outcome"), [("skip", hypotheses.NOT_MEASURED), ("shrink", hypotheses.SUPPORTED)])
def test_a_hypothesis_on_a_short_budget(tested, how, outcome):
    text = "compare: {condition: off-model, budget: 8, benchmark: maths}, versus: off-model, expected: higher"
    found = tested({**DONE, ("off-model", 8): "+" * 20}, BOTH % how, hypothesis(text), samples=5)[0]
    assert found.outcome == outcome
    assert ("only 5 samples are complete" in found.note) == (how == "skip")


def test_perplexity_and_kl_are_in_nats_a_token(tested):
    text = "metric: perplexity, compare: off-model, versus: on-model, expected: higher"
    (found,) = tested(DONE, "measures.perplexity=true", hypothesis(text))
    assert (found.outcome, found.n, found.seeds) == (hypotheses.SUPPORTED, 9, [])
    assert found.effect.value == pytest.approx(2.0)
    text = "metric: kl, compare: {condition: off-model, benchmark: maths}, expected: same, margin: 0.01"
    (found,) = tested(DONE, "measures.kl=[maths]", hypothesis(text))
    assert (found.outcome, found.n, found.effect.value) == (hypotheses.SUPPORTED, 9, 0)


def test_style_is_a_share_of_answers(tested):
    text = "metric: style, compare: {condition: off-model, benchmark: maths}, expected: higher"
    (found,) = tested(DONE, "measures.style=[maths]", hypothesis(text))
    assert (found.outcome, found.effect.value) == (hypotheses.SUPPORTED, pytest.approx(14 / 20))
    (found,) = tested(DONE, "measures.style=[maths]", hypothesis(f"{text}, versus: teacher".replace("higher", "lower")))
    assert found.effect.value == pytest.approx(14 / 20 - 1)


def test_each_pair_is_tested_unless_one_is_named(tested):
    both = "pairs.teachers=[words, terse]"
    assert [one.teacher for one in tested(DONE, both, hypothesis())] == ["words", "terse"]
    named = "compare: {condition: off-model, benchmark: maths, teacher: terse}, expected: lower"
    (found,) = tested(DONE, both, hypothesis(f"{named}, versus: {{condition: off-model, teacher: words}}"))
    assert (found.teacher, found.versus, found.effect.value) == ("terse", "off-model, teacher words", 0)


def test_a_hypothesis_in_words(tested):
    (found,) = tested(DONE, hypothesis())
    assert hypotheses.comparison(found) == "off-model on maths"
    assert hypotheses.size(found) == "20 x 2"
    assert hypotheses.unit(found) == "score, share"
    assert hypotheses.both_values(found) == "0.300, 1.000"


def test_outcomes_are_counted_by_source(tested):
    (found,) = tested(DONE, hypothesis(source="digest"))
    results = [found, found, replace(found, outcome=hypotheses.CONTRADICTED), replace(found, source="post")]
    counts = {"post": {"supported": 1}, "digest": {"supported": 2, "contradicted": 1}}
    assert hypotheses.by_source(results) == counts
    assert hypotheses.by_source_in_words(results) == "post: 1 supported; digest: 2 supported, 1 contradicted"


def test_the_source_of_a_hypothesis_is_required_and_known(small):
    with pytest.raises(StudyError, match=r"hypotheses\.0\.source: missing"):
        small(hypothesis().replace("source: ours, ", ""))
    with pytest.raises(StudyError, match=r"hypotheses\.0\.source: .*post, follow-up, digest, reading or ours"):
        small(hypothesis(source="paper"))


TWICE = "recoveries={own: {kind: on_model_sft, conditions: [off-model], budgets: [4]}, again: {kind: on_model_sft, \
conditions: [off-model], budgets: [4], train: {num_train_epochs: 2}}}"


def test_one_of_several_recoveries_must_be_named(small, tested):
    text = "compare: {condition: off-model, benchmark: maths, budget: 4}, expected: lower"
    with pytest.raises(StudyError, match="name one"):
        build_plan(small(TWICE, hypothesis(text)))
    (found,) = tested(DONE, TWICE, hypothesis(text.replace("4}", "4, recovery: again}")))
    assert (found.compared, found.effect.value) == ("off-model, then 4 of again", pytest.approx(-2 / 20))
    (found,) = tested(DONE, TWICE, hypothesis())  # all recoveries share the points before them
    assert (found.outcome, found.seeds) == (hypotheses.SUPPORTED, [1, 2])
