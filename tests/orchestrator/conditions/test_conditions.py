"""The conditions of a study: their stages, which of them they share, and their messages."""

import importlib
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evaluators.engines.generations import Generation, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.grading.aggregate import score
from evaluators.grading.verdict import Verdict
from orchestrator import conditions, recoveries
from orchestrator.cli import main
from orchestrator.conditions import CONDITIONS
from orchestrator.conditions.prefill import amount as prefill_amount
from orchestrator.plan.build import build_plan
from orchestrator.plan.catalogue import PARTS, first_sentence, options_of, source_of
from orchestrator.plan.workload import cost_of, steps_of
from orchestrator.recoveries import RECOVERIES
from orchestrator.run.preflight import check
from orchestrator.run.stage_runner import KINDS
from orchestrator.stages.sample import GENERATIONS, BenchmarkPrompts
from orchestrator.stages.transform import TransformSettings, rows_of
from orchestrator.store.context import StageContext
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError

EXAMPLES = ("shuffled", "own_demonstrations")  # of the document
DOC = Path(__file__).parents[3] / "docs" / "conditions.md"
TWICE = '''"""Twice: more rows than the budget says.

Source: a test.
"""
from pydantic import Field
from orchestrator.study.settings import Settings

SPENT = "samples"


class Options(Settings):
    factor: int = Field(2, description="rows for each sample of a budget")


def recover(builder, start, budget, recovery, options):
    return builder.train(builder.student, start=start, rows=budget * options.factor)
'''
ONE = ("pairs.teachers=[words]", "seeds=[1]", "recoveries={}")


def block(language: str, number: int = 0) -> str:
    """A block of code in that language in the document, the first by default."""
    return re.findall(rf"```{language}\n(.*?)```", DOC.read_text(), re.DOTALL)[number]


@pytest.fixture
def arm(small):
    """The trial of one condition in a study of one pair and seed, given in YAML, as `{kind: on_model}`."""

    def act(condition: str, *overrides: str):
        return build_plan(small(*ONE, f"conditions={{it: {condition}}}", *overrides)).trials[0]

    return act


@pytest.fixture
def dropped_in(tmp_path, monkeypatch):
    """The document's examples as files among the conditions."""
    folder = tmp_path / "conditions"
    folder.mkdir()
    for number, name in enumerate(EXAMPLES):
        (folder / f"{name}.py").write_text(block("python", number))
    monkeypatch.setattr(conditions, "__path__", [*conditions.__path__, str(folder)])
    importlib.invalidate_caches()
    yield "orchestrator.conditions.shuffled"
    for name in EXAMPLES:
        sys.modules.pop(f"orchestrator.conditions.{name}", None)


def student(trial):
    return trial.points[0].student


def test_a_new_file_is_a_condition(small, dropped_in, publish):
    assert len(block("python").splitlines()) < 60
    plan = build_plan(small("conditions={off-model: , shuffled: {seed: 3}}"))
    trained = {trial.condition: student(trial) for trial in plan.trials if trial.teacher == "words" and trial.seed == 1}
    made = trained["shuffled"].inputs["data"]
    assert made.settings == TransformSettings(transform="shuffled", version=1, options={"seed": 3})
    assert made.inputs["data"] == trained["off-model"].inputs["data"]
    rows = {f"p{i}": f"a{i}" for i in range(5)}
    answers = [
        Generation(
            id=prompt,
            prompt=[{"role": "user", "content": prompt}],
            completions=(Completion(token_ids=(1,), text=answer, truncated=False),),
        )
        for prompt, answer in rows.items()
    ]
    store = Store(plan.study.store)
    publish(store, made.inputs["data"], {GENERATIONS: to_jsonl(answers).encode()})
    context = StageContext(made, store, store.new_folder(made, "one"), None)
    assert KINDS["transform"].run(context) == {"n": 5, "removed": 0}
    learnt = {row.prompt[0]["content"]: row.answer for row in rows_of(context.folder("data"))}
    mixed_up = {row.prompt[0]["content"]: row.answer for row in rows_of(context.out)}
    assert learnt == rows
    assert sorted(mixed_up.values()) == sorted(rows.values())
    assert not mixed_up.items() & rows.items()
    assert "shuffled" in CONDITIONS
    with pytest.raises(StudyError, match=r'conditions\.shuffled\.sed: unknown key; did you mean "seed"\?'):
        build_plan(small("conditions.shuffled.sed=1"))


def test_a_condition_may_read_answers_of_the_users(small, dropped_in, tmp_path):
    def student_of(name: str, rows: list[dict]):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        condition = f"{{kind: own_demonstrations, file: {tmp_path / name}, train: {{objective: sdft, batch_size: 2}}}}"
        return student(build_plan(small(*ONE, f"conditions={{mine: {condition}}}")).trials[0])

    rows = [{"prompt": f"p{i}", "answer": f"a{i}"} for i in range(4)]
    trained = student_of("one.jsonl", rows)
    assert trained.settings.train.objective == "sdft"
    assert steps_of(trained, small()) == 2
    assert student_of("copy.jsonl", rows) == trained != student_of("other.jsonl", rows[1:])
    made, store = trained.inputs["data"], Store(str(tmp_path / "runs"))
    context = StageContext(made, store, store.new_folder(made, "one"), None)
    assert KINDS["transform"].run(context) == {"n": 4, "removed": 0}
    assert {row.prompt[0]["content"]: row.answer for row in rows_of(context.out)} == {
        f"p{i}": f"a{i}" for i in range(4)
    }
    wrong = student_of("wrong.jsonl", [{"prompt": "p", "answer": 1}]).inputs["data"]
    with pytest.raises(ValueError, match=r'wrong.jsonl, row 1: the column "answer" holds 1'):
        KINDS["transform"].run(StageContext(wrong, store, store.new_folder(wrong, "one"), None))


def test_every_condition_of_the_documentation_is_planned_and_passes_the_checks(small):
    declared = yaml.safe_load(block("yaml").replace("llama", "words"))  # a model of the small study
    parts = ("conditions", "recoveries")  # The models and lengths are those of the small study.
    asked_for = [f"{key}={yaml.safe_dump(declared[key], default_flow_style=True)}" for key in parts]
    problems = "rl_problems={kind: math500, source: synthetic, n: 20, max_tokens: 16}"
    plan = build_plan(small(*asked_for, problems, "prompts.n=500", "max_model_len=256"))
    assert {trial.condition for trial in plan.trials} == set(declared["conditions"])
    used = {condition.kind for condition in plan.study.conditions.values()}
    assert used == set(CONDITIONS), "a condition is not in the document"
    check(plan, Store(plan.study.store), {})
    assert cost_of(plan.stages, plan.study)[0] > 0
    distinct, count_without_sharing = Counter(stage.kind for stage in plan.stages), plan.count_without_sharing()
    # As they are: 3 models; a second draw, under another system message, at another temperature, and rephrased: the
    # student.
    assert (
        sum(
            stage.kind == "sample" and not isinstance(stage.settings.prompts, BenchmarkPrompts) for stage in plan.stages
        )
        == 7
    )
    # Without a training of their own: noise, interpolation, prefill (3), two inoculated, best of (4). Trained
    # once for both teachers: on-model, on-model otherwise (4). For each: all others, and two budgets.
    n = len(declared["conditions"])
    assert distinct["train"] == 2 * (5 + 2 * (n - 11 - 5 + 2))
    # Two teachers: filters (4), non-text (3), own reasoning, inoculation, verified, by seed mixed (2);
    # the student: on-model (2).
    assert distinct["transform"] == 2 * (4 + 3 + 1 + 1 + 1 + 2 * 2) + 2
    assert count_without_sharing["train"] > distinct["train"]
    assert count_without_sharing["sample"] > distinct["sample"]


def test_best_of_any_n_shares_one_sampling_of_the_off_model_student(small):
    grid = {f"best of {n}": {"kind": "best_of", "n": n, "samples": 8, "benchmarks": ["maths"]} for n in (1, 2, 8)}
    grid["majority of 4"] = {**grid["best of 8"], "n": 4, "select": "majority"}
    grid["the same by chance"] = {**grid["best of 8"], "by_chance": True}
    plan = build_plan(small(*ONE, f"conditions={yaml.safe_dump({'off-model': {}, **grid}, default_flow_style=True)}"))
    scores = {trial.condition: trial.points[0].scores["maths"] for trial in plan.trials}
    off_model, picked = scores.pop("off-model"), list(scores.values())
    assert len({stage.inputs["generations"] for stage in picked}) == 1
    assert [stage.settings.score for stage in picked] == [
        *("pass@1", "pass@2", "pass@8", "majority@4"),
        "pass@8 by chance",
    ]
    asked = picked[0].inputs["generations"]
    assert asked.inputs["student"] == off_model.inputs["generations"].inputs["student"]
    sampling_params = asked.settings.sampling_params
    assert (sampling_params.n, sampling_params.temperature) == (8, 0.7)
    assert asked.settings.prompts == off_model.inputs["generations"].settings.prompts
    assert sum(stage.kind == "train" for stage in plan.stages) == 1


def test_best_of_samples_like_the_benchmark_but_for_its_own_options(small):
    maths = "benchmarks.maths={kind: math500, source: synthetic, n: 5, temperature: 1, top_k: 7, min_p: 0.2}"
    options = "best of 2: {kind: best_of, n: 2, top_p: 0.9, min_p: 0.1, benchmarks: [maths]}"
    plan = build_plan(small(*ONE, maths, f"conditions={{{options}}}"))
    params = plan.trials[0].points[0].scores["maths"].inputs["generations"].settings.sampling_params
    assert (params.n, params.temperature, params.top_p, params.top_k, params.min_p) == (16, 0.7, 0.9, 7, 0.1)


def test_the_majority_of_k_is_the_mean_over_disjoint_groups_of_k():
    given = [
        Verdict(score=float(answer == "4"), parsed=True, answer=answer)
        for answer in ("4", "4", "5", "5", "5", "4", "4", "5")
    ]
    assert score(given, "majority@3") == pytest.approx(0.5)  # 4 4 5, then 5 5 4; two are left over
    assert score(given, "majority@8") == score(given, "majority")
    assert score(given, "majority@1") == score(given, "mean")


@pytest.mark.parametrize(
    ("options", "learnt_with", "asked_with"),
    [
        ("when: training", True, False),
        ("when: evaluation", False, True),
        ("when: both", True, True),
        ("when: evaluation, student: untrained", None, True),
    ],
)
def test_inoculation_in_training_in_evaluation_and_in_both(arm, options, learnt_with, asked_with):
    trial = arm(f"{{kind: inoculation, {options}, system: 'be bad', prefix: 'in {{braces}} '}}", "measures.kl=[maths]")
    if learnt_with is None:
        assert student(trial) is None
    else:
        data = student(trial).inputs["data"]
        assert (data.kind == "transform") == learnt_with
        if learnt_with:
            assert data.settings.options == {"system": "be bad", "prefix": "in {braces} "}
        else:
            assert student(trial) == student(arm("{kind: off_model}"))
    for name, before in trial.untrained_scores.items():
        how, was = (s.inputs["generations"].settings.prompts for s in (trial.points[0].scores[name], before))
        assert how.system == ("be bad" if asked_with else None)
        assert how.prompt == ("in {{braces}} " if asked_with else "") + was.prompt
        assert how.examples == was.examples
    if student(trial) is not None:  # KL is of the answers to what is asked.
        drawn = trial.points[0].measured["kl"]["maths"][0].inputs["data"]
        assert drawn.settings.prompts.system == ("be bad" if asked_with else None)


def test_answers_under_changed_prompts_are_trained_on_under_the_studys_prompt(arm):
    system = "prompts.system=as ever"
    plain = student(arm("{kind: on_model}", system)).inputs["data"]
    data = student(arm("{kind: on_model, prompts: {system: another}}", system)).inputs["data"]
    assert data.settings.options == {"system": "as ever", "prefix": ""}
    assert data.inputs["data"].settings.prompts == replace(plain.settings.prompts, system="another")
    cooler = student(arm("{kind: on_model, sampling: {temperature: 0.25}}", system)).inputs["data"]
    params = replace(plain.settings.sampling_params, temperature=0.25)
    assert cooler.settings == replace(plain.settings, sampling_params=params)
    said_again = student(arm("{kind: on_model, rephrase: 'again : {answer}'}", system)).inputs["data"]
    assert said_again.inputs["prompts"] == plain == said_again.inputs["data"].inputs["generations"]
    assert said_again.settings.options["system"] == "as ever"


def test_a_condition_may_change_the_prompts(arm, small, tmp_path, monkeypatch):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"instruction": "say {i}"}}\n' for i in range(7)))
    monkeypatch.chdir(tmp_path)
    study = small(
        *ONE, "conditions={it: {kind: off_model, prompts: {source: rows.jsonl, n: null}}}", "train.batch_size=2"
    )
    assert study.conditions["it"].options["prompts"]["source"] == str(rows), (
        "a stage does not run where the user stands"
    )
    trained = student(build_plan(study).trials[0])
    assert steps_of(trained, study) == round(7 / 2)
    assert cost_of([trained.inputs["data"]], study) == (7, 7 * 8)


def test_the_perplexity_filter_and_the_measure_share_log_probabilities(small):
    half = "kind: perplexity_filter, quantiles"
    halves = f"conditions={{low: {{{half}: [0, 0.5]}}, high: {{{half}: [0.5, 1]}}}}"
    plan = build_plan(small(*ONE, halves, "measures.perplexity=true"))
    low, high = (student(trial).inputs["data"] for trial in plan.trials)
    assert low != high
    assert low.inputs == high.inputs
    assert [trial.training_data["perplexity"][0].inputs["data"] for trial in plan.trials] == [low, high]
    assert sum(stage.kind == "logprobs" for stage in plan.stages) == 3


def test_token_streams_are_trained_by_language_modelling_and_have_no_perplexity(arm):
    trial = arm(
        "{kind: non_text, text: code, n: 9, length: 16}", "measures.perplexity=true", "train.drop_least_likely=0.1"
    )
    assert student(trial).settings.train.objective == "lm"
    assert student(trial).settings.train.drop_least_likely == 0
    assert set(student(trial).inputs["data"].inputs) == {"model"}
    assert trial.training_data == {}


def test_streams_like_the_teachers_need_its_samples_and_have_no_perplexity(small):
    plan = build_plan(
        small(
            "seeds=[1]",
            "recoveries={}",
            "conditions={it: {kind: non_text, text: code, like_teacher: true}}",
            "measures.perplexity=true",
        )
    )
    inputs = [student(trial).inputs["data"].inputs for trial in plan.trials]
    assert [set(each) for each in inputs] == [{"model", "like"}] * 2
    assert inputs[0]["like"] != inputs[1]["like"]
    assert plan.trials[0].training_data == {}
    assert steps_of(student(plan.trials[0]), plan.study) == 1


@pytest.mark.parametrize(
    ("options", "amount", "tokens", "share"),
    [("", "4", 4, None), (", tokens: 2", "2", 2, None), (", share: 0.5", "50 %", None, 0.5)],
)
def test_a_prefill_is_of_tokens_or_of_a_share_of_them(small, options, amount, tokens, share):
    study = small(*ONE, f"conditions={{it: {{kind: prefill, benchmarks: [maths]{options}}}}}")
    trial = build_plan(study).trials[0]
    prefill = trial.points[0].scores["maths"].inputs["generations"].settings.prefill
    assert (getattr(prefill, "tokens", None), getattr(prefill, "share", None)) == (tokens, share)
    assert prefill_amount(conditions.options("it", study.conditions["it"])) == amount


def test_mixed_rows_are_drawn_by_the_seed_and_trained_on_in_order(small):
    plan = build_plan(small("conditions={it: {kind: mixed, share: 0.5, arrange: interleaved}}", "recoveries={}"))
    trained = [student(trial) for trial in plan.trials]
    assert {stage.settings.train.order for stage in trained} == {"fixed"}
    assert {stage.inputs["data"].settings.options["block"] for stage in trained} == {32}
    assert sorted(stage.inputs["data"].settings.options["seed"] for stage in trained) == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("{kind: off_model, prompts: {sytem: x}}", 'prompts.sytem: unknown key; did you mean "system"?'),
        ("{kind: on_model, sampling: {temperature: 9}}", "sampling.temperature: give a number that is at most 2"),
        (
            "{kind: off_model, sampling: {seed: 1}, train: {objective: on_policy_distillation}}",
            "train.objective: on_pol",
        ),
        ("{kind: on_model, rephrase: 'say {prompt}'}", "rephrase: it names prompt in braces; it must name {answer}"),
        ("{kind: on_model, rephrase: 'say {answer'}", "rephrase: "),
        ("{kind: perplexity_filter}", "quantiles: missing"),
        ("{kind: perplexity_filter, quantiles: [0.5, 0.2]}", "quantiles: 0.5 to 0.2 is not a part"),
        ("{kind: perplexity_filter, quantiles: [0, 1]}", "quantiles: 0 to 1 is everything"),
        ("{kind: non_text, text: poems}", "text: give numbers, code or tokens"),
        ("{kind: non_text, text: code, train: {objective: sft}}", "train.objective: token streams have no prompt"),
        ("{kind: non_text, text: code, length: 4096}", "length: 4096 tokens are more than the 2048"),
        ("{kind: non_text, text: code, length: 9, like_teacher: true}", "length has no effect with like_teacher"),
        ("{kind: prefill, tokens: 2, share: 0.5, benchmarks: [maths]}", "give one of tokens, share and until"),
        ("{kind: prefill, share: 1.0, benchmarks: [maths]}", "share: give a number that is less than 1"),
        ("{kind: perplexity_filter, quantiles: [0, 0.5], match: '('}", "match: '(' is not a regular expression"),
        ("{kind: own_reasoning, train: {loss_on: answer}}", "train.loss_on: this condition"),
        ("{kind: own_reasoning, train: {objective: sdft}}", "train: loss_on has no effect on sdft"),
        ("{kind: inoculation, when: training}", "system, prefix: give at least one of them"),
        (
            "{kind: inoculation, when: both, student: untrained, system: x}",
            "student: the base student is not trained",
        ),
        ("{kind: inoculation, when: evaluation, system: x, benchmarks: [mats]}", 'benchmarks: "mats" is not among'),
        ("{kind: best_of, n: 4, samples: 2, benchmarks: [maths]}", "n: the best of 4 needs as many samples"),
        ("{kind: best_of, n: 2, benchmarks: [mats]}", 'benchmarks: "mats" is not among'),
        (
            "{kind: best_of, n: 2, select: majority, benchmarks: [follow]}",
            "benchmarks.follow: score: completions for ifeval",
        ),
        ("{kind: without_maths, rule: '('}", "rule: '(' is not a regular expression"),
        ("{kind: without_maths, rule: x, like_benchmark: maths}", "give one of rule and like"),
        ("{kind: without_maths, recall: 0.5}", "recall has no effect on a rule"),
        ("{kind: without_maths, like_benchmark: math}", 'like_benchmark: "math" is neither a benchmark of the study'),
        (
            "{kind: without_maths, like_benchmark: rl_problems}",
            'like_benchmark: "rl_problems" is neither a benchmark of the study',
        ),
        (
            "{kind: prefill, benchmarks: [gsm]}",
            "benchmarks: prefill is not available for gsm, a task of lm-eval: use a benchmark that offmodel grades, "
            "with kind: gsm8k, ifeval, math500",
        ),
        (
            "{kind: best_of, n: 2, benchmarks: [letters]}",
            "benchmarks: best_of is not available for letters, which has answer_by",
        ),
        (
            "{kind: best_of, n: 2, benchmarks: [gsm]}",
            "benchmarks: gsm is a task of lm-eval, which defines its own prompts and scores, and this condition "
            "changes them: use a benchmark that offmodel grades, with kind: gsm8k, ifeval, math500",
        ),
        (
            "{kind: prefill, benchmarks: [rules]}",
            "benchmarks: prefill is not available for rules, a task of lm-eval: use kind: ifeval, which offmodel gra",
        ),
        ("{kind: mixed, share: 1.5}", "share: give a number that is less than 1"),
        (
            "{kind: mixed, share: 0.5, arrange: after, train: {num_train_epochs: 2}}",
            "arrange: own completions come after",
        ),
        ("{kind: mixed, share: 0.5, train: {order: fixed}}", "train.order: arrange decides the order"),
    ],
)
def test_a_wrong_option_has_a_message_with_its_place(small, condition, said):
    with pytest.raises(StudyError) as raised:
        build_plan(
            small(
                *ONE,
                f"conditions={{it: {condition}}}",
                "benchmarks.follow={kind: ifeval, source: synthetic, n: 2}",
                "benchmarks.gsm={kind: 'lm_eval:asdiv'}",
                "benchmarks.rules={kind: 'lm_eval:ifeval'}",
                "benchmarks.letters={kind: mmlu, answer_by: logprob}",
            )
        )
    assert f"conditions.it.{said}" in str(raised.value) or f"conditions.it: {said}" in str(raised.value), raised.value


def test_a_prefill_is_of_the_pairs_teacher_or_student(small):
    roles = {"of teacher": "from_model: teacher, ", "of student": "from_model: student, ", "default": ""}
    declared = ", ".join(f"{name}: {{kind: prefill, {role}benchmarks: [maths]}}" for name, role in roles.items())
    plan = build_plan(small("seeds=[1]", "recoveries={}", f"conditions={{{declared}}}", "pairs.students=[terse]"))
    for trial in plan.trials:
        source = trial.points[0].scores["maths"].inputs["generations"].inputs["prefill"].inputs["base"].name
        assert source == (trial.teacher if trial.condition == "of teacher" else trial.student)


def test_a_recovery_with_an_option_is_one_file(small, tmp_path, monkeypatch):
    folder = tmp_path / "recoveries"
    folder.mkdir()
    (folder / "twice.py").write_text(TWICE)
    monkeypatch.setattr(recoveries, "__path__", [*recoveries.__path__, str(folder)])
    importlib.invalidate_caches()
    declared = "recoveries={again: {kind: twice, conditions: [off-model], budgets: [2, 4], factor: 3}}"
    plan = build_plan(small(*ONE, "conditions={off-model: }", declared))
    assert [step.student.settings.rows for step in plan.trials[0].points[1:]] == [6, 12]
    assert "twice" in RECOVERIES
    with pytest.raises(StudyError, match=r'recoveries\.again\.facto: unknown key; did you mean "factor"\?'):
        build_plan(small(*ONE, declared.replace("factor", "facto")))
    sys.modules.pop("orchestrator.recoveries.twice")


def test_prompts_that_a_condition_makes_too_long_are_refused_before_a_run(small):
    spoilt = (
        "conditions={it: {kind: inoculation, when: evaluation, prefix: '" + "very " * 300 + "', benchmarks: [maths]}}"
    )
    plan = build_plan(small(*ONE, spoilt, "max_model_len=64"))
    with pytest.raises(StudyError, match=r"maths, changed by a condition \(1\), row 1: \d+ tokens"):
        check(plan, Store(plan.study.store), {})


def test_the_command_lists_every_condition_and_recovery(capsys, monkeypatch):
    sourceless = {"dft", "lm", "sft", "sft_kl"}  # whose docstrings have no paragraph with a source alone
    for plugins, _ in PARTS.values():
        for kind in plugins:
            module = plugins.module(kind)
            assert first_sentence(module).endswith("."), kind
            assert source_of(module) or kind in sourceless, kind
            assert [name for name, field in options_of(module).items() if not field.description] == [], kind
    monkeypatch.setattr(sys, "argv", ["offmodel", "conditions"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "conditions, each of which also takes kind, pairs, benchmarks" in told
    for kind in (*CONDITIONS, "sft_kl", "perplexity", "mmlu"):
        assert f"\n  {kind}\n" in told
    for line in (
        "select (default verifier): verifier: a right completion if there is one (pass@n); majority: the most frequent "
        "answer; verifier or majority",
        "share (required): ",
        "skip_tokens (default 3): tokens at the start of each completion that have no loss",
    ):
        assert line in told
    monkeypatch.setattr(sys, "argv", ["offmodel", "conditions", "best_of"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


def test_a_filter_uses_the_answers_of_the_condition_with_the_same_prompts(small):
    prompts = "prompts: {maths: 0.2}"
    one, other = build_plan(
        small(*ONE, f"conditions={{all: {{kind: off_model, {prompts}}}, some: {{kind: without_maths, {prompts}}}}}")
    ).trials
    learnt, filtered = (trial.points[-1].student.inputs["data"] for trial in (one, other))
    assert filtered.inputs["data"] == learnt
    assert learnt.settings.prompts.maths == 0.2


def test_an_incomplete_condition_is_refused_with_its_file(small, dropped_in, tmp_path, monkeypatch, capsys):
    (tmp_path / "conditions" / "shuffled.py").write_text('"""Nothing."""')
    message = "conditions/shuffled.py: this condition does not define Options, build"
    with pytest.raises(StudyError, match=rf"conditions\.shuffled: .*{message}$"):
        build_plan(small("conditions={shuffled: }", "recoveries={}"))
    monkeypatch.setattr(sys, "argv", ["offmodel", "conditions"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
