"""Trials and shared stages of a plan, on the shipped demo."""

from collections import Counter

import pytest

from evaluators.benchmarks import BENCHMARKS
from orchestrator.plan.build import build_plan
from orchestrator.plan.trial import Plan
from orchestrator.plan.workload import stages_per_experiment
from orchestrator.stages.data import PromptData
from orchestrator.stages.train import at_step
from orchestrator.study.schema import Pair
from orchestrator.study.settings import StudyError
from trainers.settings import Lora

PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 40, prompt: '{problem}', max_tokens: 96}"
BY_GRPO = (
    "recoveries.on-model samples={kind: grpo, conditions: [off-model], budgets: [20, 5, 10], train: {batch_size: 8}}"
)


def fingerprints(plan: Plan, *kinds: str) -> set[str]:
    return {stage.fingerprint for stage in plan.stages if not kinds or stage.kind in kinds}


def trial_of(plan: Plan, condition: str, seed: int, teacher: str):
    found = [t for t in plan.trials if (t.condition, t.seed, t.teacher) == (condition, seed, teacher)]
    assert len(found) == 1
    return found[0]


def prompted(plan: Plan) -> set[str]:
    """The answers to the training prompts."""
    return {s.fingerprint for s in plan.stages if s.kind == "sample" and isinstance(s.settings.prompts, PromptData)}


def test_every_pair_condition_and_seed_is_a_trial(demo):
    study = demo()
    plan = build_plan(study)
    expected = {
        (pair.student, pair.teacher, condition, seed)
        for pair in study.pair_list
        for condition in study.conditions
        for seed in study.seeds
    }
    assert {(t.student, t.teacher, t.condition, t.seed) for t in plan.trials} == expected
    assert len(plan.trials) == len(expected) == 18
    assert len({trial.key for trial in plan.trials}) == 18


def test_shared_stages_are_counted_once(demo):
    study = demo("recoveries.on-model samples.budgets=[32, 64]", "seeds=[1, 2]", "measures={}")
    plan = build_plan(study)
    distinct = Counter(stage.kind for stage in plan.stages)
    # Off-model: 2 teachers x 2 seeds; on-model: 2 seeds for both teachers; recovery: 2 budgets for each off-model one.
    trains = 4 + 2 + 8
    # As they are: 3 models x 4 benchmarks; each trained student: 4; prefill: 2 benchmarks for each off-model one.
    evaluations = 3 * 4 + trains * 4 + 4 * 2
    assert distinct == {"model": 3, "sample": 3 + evaluations, "train": trains, "evaluate": evaluations}
    assert plan.count_without_sharing()["sample"] > distinct["sample"]


def test_each_model_answers_the_prompts_once(demo):
    plan = build_plan(demo())
    asked = [
        stage.inputs["base"]
        for stage in plan.stages
        if stage.kind == "sample" and isinstance(stage.settings.prompts, PromptData)
    ]
    assert len(asked) == len(set(asked))
    assert {model.name for model in asked} == {model.organism for model in plan.study.models.values()}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [PROBLEMS, BY_GRPO, "train.checkpoints=[5]", "recoveries.on-model samples.conditions=[off-model, on-model]"],
        [PROBLEMS, "train.objective=grpo"],
        ["train.objective=on_policy_distillation"],
    ],
    ids=["demo", "by grpo", "grpo", "on-policy distillation"],
)
def test_a_stage_that_trials_share_lies_at_one_address(demo, overrides):
    # It is found in the store by its address, which holds its name too: under two names it would run twice.
    addresses: dict[str, set[str]] = {}

    def visit(stage):
        addresses.setdefault(stage.fingerprint, set()).add(stage.address)
        for needed in stage.inputs.values():
            visit(needed)

    plan = build_plan(demo(*overrides))
    for trial in plan.trials:
        for stage in trial.stages():
            visit(stage)
    assert addresses.keys() == fingerprints(plan)
    assert [found for found in addresses.values() if len(found) > 1] == []


def test_the_base_student_is_evaluated_once_for_each_benchmark(demo):
    study = demo()
    plan = build_plan(study)
    student = study.models[study.pair_list[0].student].organism
    untrained = [
        stage.runtime.benchmark
        for stage in plan.stages
        if stage.kind == "sample"
        and stage.runtime.benchmark is not None
        and set(stage.inputs) == {"base"}
        and stage.inputs["base"].name == student
    ]
    assert sorted(untrained) == sorted(study.benchmarks)
    assert len({tuple(trial.untrained_scores.values()) for trial in plan.trials}) == 1


def test_prefill_evaluates_the_off_model_student_and_trains_none(demo):
    study = demo()
    plan = build_plan(study)
    for pair in study.pair_list:
        for seed in study.seeds:
            prefill = trial_of(plan, "prefill", seed, pair.teacher)
            off_model = trial_of(plan, "off-model", seed, pair.teacher)
            assert set(prefill.points[0].scores) == set(study.conditions["prefill"].benchmarks)
            for name, stage in prefill.points[0].scores.items():
                answers = stage.inputs["generations"]
                assert (
                    answers.inputs["student"]
                    == off_model.points[0].scores[name].inputs["generations"].inputs["student"]
                )
                assert answers.inputs["prefill"] == prefill.untrained_scores[name].inputs["generations"]
                assert answers.settings.prefill.tokens == study.conditions["prefill"].options["tokens"]
                assert answers.settings.prefill.until is None
                assert stage != off_model.points[0].scores[name]
    without = build_plan(demo("conditions={off-model: , on-model: }"))
    assert fingerprints(without, "train") == fingerprints(plan, "train")


def test_on_model_students_are_shared_by_all_teachers(demo):
    plan = build_plan(demo())
    one, other = (trial_of(plan, "on-model", 1, teacher) for teacher in plan.study.pairs.teachers)
    assert one.points == other.points
    assert one.points != trial_of(plan, "on-model", 2, one.teacher).points


def test_off_model_students_learn_from_their_teacher_with_their_seed(demo):
    plan = build_plan(demo())
    for trial in plan.trials:
        if trial.condition == "off-model":
            student = trial.points[0].scores["maths"].inputs["generations"].inputs["student"]
            assert student.inputs["data"].inputs["base"].name == plan.study.models[trial.teacher].organism
            assert student.inputs["base"].name == plan.study.models[trial.student].organism
            assert student.settings.train.seed == trial.seed


@pytest.mark.parametrize(
    "overrides",
    [
        ["name=another"],
        ["store=elsewhere"],
        ["tracking.uri=http://127.0.0.1:5000", "tracking.experiment=x"],
        [
            "resources.max_concurrent_trials=1",
            "resources.cpus=3",
            "resources.train.cpus=2",
            "resources.train.max_tokens_per_microbatch=4",
        ],
        ["resources.engine.gpus=1", "resources.engine.replicas=3", "resources.train.gpus=1"],
        ["resources.train={workers: 4, zero: 3, offload: all, gradient_checkpointing: true, save_every_seconds: 1}"],
        ["train.kl_every_steps=0"],
    ],
    ids=" ".join,
)
def test_where_a_study_runs_changes_no_stage(demo, overrides):
    assert fingerprints(build_plan(demo(*overrides))) == fingerprints(build_plan(demo()))


@pytest.mark.parametrize(
    "override",
    [
        "train.learning_rate=2.0e-3",
        "train.lora_r=4",
        "seeds=[4, 5]",
        "train.num_train_epochs=1",
        "train.objective=dft",
        "train.objective={kind: sft_kl, weight: 0.5}",
        "train.loss_on=after_reasoning",
        "train.drop_least_likely=0.1",
        "train.order=fixed",
        "train.max_steps=30",
    ],
)
def test_training_settings_change_trainings_and_no_earlier_stage(demo, override):
    before, after = build_plan(demo()), build_plan(demo(override))
    assert not fingerprints(before, "train") & fingerprints(after, "train")
    assert fingerprints(before, "model") == fingerprints(after, "model")
    assert prompted(before) == prompted(after)
    kept = fingerprints(before, "evaluate") & fingerprints(after, "evaluate")
    untrained = {
        stage.fingerprint
        for t in before.trials
        for scores in (t.untrained_scores, t.teacher_scores)
        for stage in scores.values()
    }
    assert kept == untrained


@pytest.mark.parametrize(
    "override",
    [
        "prompts.n=1000",
        "prompts.seed=1",
        "prompts.system=hi",
        "sampling.temperature=0.5",
        "sampling.seed=1",
        "sampling.top_k=5",
        "sampling.min_p=0.1",
    ],
)
def test_other_prompts_or_sampling_change_all_trainings_on_them(demo, override):
    before, after = build_plan(demo()), build_plan(demo(override))
    assert not prompted(before) & prompted(after)
    assert not fingerprints(before, "train") & fingerprints(after, "train")
    assert fingerprints(before, "model") == fingerprints(after, "model")


@pytest.mark.parametrize("change", ["n=10", "seed=1", "max_tokens=5", "temperature=1.0", "prompt='{problem} ?'"])
def test_a_change_to_a_benchmark_changes_its_evaluations_alone(demo, change):
    before, after = build_plan(demo()), build_plan(demo(f"benchmarks.maths.{change}"))

    def evaluations(plan, of_maths):
        found = [s for s in plan.stages if s.kind == "evaluate"]
        return {s for s in found if (s.inputs["generations"].runtime.benchmark == "maths") == of_maths}

    assert not evaluations(before, True) & evaluations(after, True)
    assert evaluations(before, False) == evaluations(after, False)
    assert prompted(before) == prompted(after)
    assert fingerprints(before, "model", "train") == fingerprints(after, "model", "train")


@pytest.mark.parametrize("change", ["samples=4 temperature=1.0 score=majority", "samples=4 temperature=1.0"])
def test_another_aggregation_grades_the_same_completions(demo, change):
    def overrides(settings: str) -> list[str]:
        return [f"benchmarks.maths.{setting}" for setting in settings.split()]

    before, after = build_plan(demo(*overrides(change))), build_plan(demo(*overrides(f"{change} score=pass@2")))
    assert fingerprints(before, "sample") == fingerprints(after, "sample")
    differing = fingerprints(before, "evaluate") ^ fingerprints(after, "evaluate")
    of_maths = [
        s for s in after.stages if s.kind == "evaluate" and s.inputs["generations"].runtime.benchmark == "maths"
    ]
    assert len(differing) == 2 * len(of_maths)


def test_another_version_of_a_grader_grades_the_same_completions_again(demo, monkeypatch):
    before = build_plan(demo())
    monkeypatch.setattr(BENCHMARKS.module("math500"), "VERSION", 99)
    after = build_plan(demo())
    assert fingerprints(before, "model", "sample", "train") == fingerprints(after, "model", "sample", "train")
    again = [s for s in after.stages if s.kind == "evaluate" and s.fingerprint not in fingerprints(before)]
    assert {stage.inputs["generations"].runtime.benchmark for stage in again} == {"maths"}


def test_measures_add_stages_and_change_none(demo):
    plan, more = build_plan(demo()), build_plan(demo("measures={perplexity: true, kl: [maths]}"))
    assert fingerprints(plan) < fingerprints(more)
    data = {trial.training_data["perplexity"][0].inputs["data"].inputs["base"].name for trial in more.trials}
    assert data == {"steps", "words", "terse"}
    for trial in more.trials:
        for point in trial.points:
            ours, theirs = point.measured["kl"]["maths"]
            assert ours.inputs["data"] == theirs.inputs["data"]
            assert (ours.inputs["student"], "student" in theirs.inputs) == (
                ours.inputs["data"].inputs["student"],
                False,
            )
            assert ours.inputs["data"].settings.sampling_params.temperature == 1.0


def test_kl_is_estimated_from_samples_of_all_tokens(small):
    maths = "{kind: math500, source: synthetic, n: 5, temperature: 0.5, top_p: 0.9, top_k: 5, min_p: 0.1}"
    plan = build_plan(small("measures={kl: [maths]}", f"benchmarks.maths={maths}"))
    scored, drawn = (plan.trials[0].points[0].measured[measure]["maths"][0] for measure in ("score", "kl"))
    params = scored.inputs["generations"].settings.sampling_params
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.9, 5, 0.1)
    params = drawn.inputs["data"].settings.sampling_params
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (1.0, 1.0, 0, 0.0)


@pytest.mark.parametrize("override", ["dtype=bfloat16", "max_model_len=256"])
def test_dtype_and_max_model_len_change_every_stage_of_a_model(demo, override):
    before, after = build_plan(demo()), build_plan(demo(override))
    assert not fingerprints(before, "sample", "train", "evaluate") & fingerprints(after, "sample", "train", "evaluate")


def test_lora_settings_do_not_matter_for_full_weights(demo):
    def full_weights(study, **unused):
        return study.model_copy(update={"train": study.train.model_copy(update={"tuning": "full", **unused})})

    full = fingerprints(build_plan(demo("train.tuning=full")))
    unused = {"lora_r": 2, "lora_alpha": 1, "target_modules": ["q_proj"], "lora_dropout": 0.1}
    assert full == fingerprints(build_plan(full_weights(demo(), **unused)))
    assert full != fingerprints(build_plan(demo()))


def test_modules_and_dropout_change_trainings_and_the_order_of_modules_does_not(demo):
    plain, drawn = fingerprints(build_plan(demo()), "train"), []
    for override in ("target_modules=[v_proj, q_proj]", "target_modules=[q_proj, v_proj]", "lora_dropout=0.1"):
        drawn.append(fingerprints(build_plan(demo(f"train.{override}")), "train"))
        assert not plain & drawn[-1]
    assert drawn[0] == drawn[1] != drawn[2]
    same = demo("train.target_modules=all-linear", "train.lora_dropout=0.0")
    assert fingerprints(build_plan(same), "train") == plain


def test_further_training_keeps_the_modules_of_its_adapter_and_has_a_dropout_of_its_own(small):
    condition = "conditions.off-model.train={target_modules: [v_proj, q_proj], lora_r: 4, lora_dropout: 0.2}"
    for change, dropout in (("{}", 0.0), ("{lora_dropout: 0.1}", 0.1)):
        plan = build_plan(small(condition, f"recoveries.own.train={change}"))
        first, *further = (point.student for point in plan.trials[0].points)
        assert first.settings.train.lora == Lora(4, 16, ("q_proj", "v_proj"), 0.2)
        assert [stage.settings.train.lora for stage in further] == [Lora(4, 16, ("q_proj", "v_proj"), dropout)] * 2


def test_more_seeds_or_budgets_keep_what_is_done(demo):
    plan = build_plan(demo())
    for override in ("seeds=[1, 2, 3, 4]", "recoveries.on-model samples.budgets=[16, 32, 64, 128, 256, 512]"):
        assert fingerprints(plan) < fingerprints(build_plan(demo(override)))


def test_budgets_go_upwards_and_only_conditions_with_a_recovery_have_them(demo):
    plan = build_plan(demo("recoveries.on-model samples.budgets=[64, 32, 128]"))
    for trial in plan.trials:
        expected = [0, 32, 64, 128] if trial.recovery else [0]
        assert [point.budget for point in trial.points] == expected
    assert {trial.condition for trial in plan.trials if len(trial.points) > 1} == {"off-model"}


def test_a_recovery_starts_from_the_trained_student_on_samples_of_the_base_student(demo):
    plan = build_plan(demo())
    trial = trial_of(plan, "off-model", 1, plan.study.pair_list[0].teacher)
    start = trial.points[0].scores["maths"].inputs["generations"].inputs["student"]
    for point in trial.points[1:]:
        for stage in point.scores.values():
            student = stage.inputs["generations"].inputs["student"]
            assert student.inputs["start"] == start
            assert student.inputs["data"].inputs["base"].name == plan.study.models[trial.student].organism
            assert student.settings.rows == point.budget
            assert (
                student.settings.train.num_train_epochs
                == plan.study.recoveries["on-model samples"].train["num_train_epochs"]
            )


@pytest.mark.parametrize(("own", "steps"), [("{}", None), ("{max_steps: 7}", 7)])
def test_a_recovery_takes_one_pass_over_its_budget_whatever_the_steps_of_the_study(small, own, steps):
    plan = build_plan(small("train.max_steps=40", f"recoveries.own.train={own}"))
    trained = {stage for stage in plan.stages if stage.kind == "train"}
    assert {stage.settings.train.max_steps for stage in trained if stage.settings.rows} == {steps}
    assert {stage.settings.train.max_steps for stage in trained if not stage.settings.rows} == {40}


def test_without_recovery_every_trial_has_one_point(demo):
    plan = build_plan(demo("recoveries={}"))
    assert {len(trial.points) for trial in plan.trials} == {1}
    assert len(plan.trials) == 18


def test_a_search_changes_no_stage_and_no_point(demo):
    plan, searched = (
        build_plan(demo()),
        build_plan(demo("recoveries.on-model samples.search={benchmark: maths, recovered: 0.9}")),
    )
    assert fingerprints(searched) == fingerprints(plan)
    assert [len(trial.points) for trial in searched.trials] == [len(trial.points) for trial in plan.trials]


AGAIN = (
    "recoveries.twice={kind: on_model_sft, conditions: [off-model, on-model], budgets: [512, 32], "
    "train: {num_train_epochs: 2}}"
)


def test_each_recovery_of_a_condition_is_a_trial_and_they_share_earlier_points(demo):
    plan, both = build_plan(demo()), build_plan(demo(AGAIN, "train.checkpoints=[10]"))
    found = Counter((trial.condition, trial.recovery) for trial in both.trials)
    assert found == {
        ("off-model", "on-model samples"): 6,
        ("off-model", "twice"): 6,
        ("on-model", "twice"): 6,
        ("prefill", ""): 6,
    }
    assert (
        len({trial.key for trial in both.trials}) == len({tuple(trial.params.items()) for trial in both.trials}) == 24
    )
    one, other = (
        next(t for t in both.trials if (t.condition, t.recovery) == ("off-model", name))
        for name in both.study.recoveries
    )
    assert one.points[:2] == other.points[:2]
    assert [(s.recovery, s.budget, s.step) for s in other.points] == [
        *(("", 0, 10), ("", 0, None), ("twice", 32, None), ("twice", 512, None))
    ]
    assert other.points[2].student.settings.train.num_train_epochs == 2
    assert not {point.student for point in one.points[2:]} & {point.student for point in other.points[2:]}
    assert fingerprints(plan) < fingerprints(both)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "conditions.prefill.from_model=words",
            'conditions.prefill: from_model: "words" is not among the study.s models',
        ),
        ("conditions.prefill={until: x, tokens: 2, benchmarks: [maths]}", "give one of tokens, share and until"),
        ("conditions.prefill.benchmarks=[mats]", '"mats" is not among.*did you mean "maths"'),
        ("models.student=organism:stepz", 'models.student: no organism "stepz"; did you mean "steps"'),
        ("models.student=./nowhere", "/nowhere is not a checkpoint"),
        ("prompts.source=./nowhere.jsonl", "prompts.source: .*nowhere.jsonl: there is no such file"),
        (
            "benchmarks.maths={kind: 'lm_eval:gsm8k', source: nowhere.jsonl}",
            "benchmarks.maths.source: .*nowhere.jsonl: there is no such file",
        ),
        (
            "prompts.source=s3://bucket/prompts.jsonl",
            r"prompts.source: s3://bucket/prompts.jsonl: cannot be read \(NoCredentialsError.*your credentials",
        ),
        ("conditions.off-model.train={epoch: 1}", "conditions.off-model: train.epoch: unknown key.*num_train_epochs"),
        ("conditions.off-model.train={lora_r: 0}", "conditions.off-model: train.lora_r: .*greater than 0"),
        (
            "conditions.on-model={train: {objective: {kind: dft, weight: 1}}}",
            "conditions.on-model: train.objective: dft",
        ),
        (
            "conditions.off-model.train={objective: sdft, drop_least_likely: 0.1}",
            "off-model: train: drop_least_likely has no effect on sdft",
        ),
        ("train.objective=grpo", r"train.objective: grpo needs problems with a reward: give the study rl_problems"),
        (
            "recoveries.on-model samples={kind: on_model_sft, conditions: [prefill], budgets: [1], "
            "search: {benchmark: facts}}",
            "recoveries.on-model samples: search.benchmark: prefill is not evaluated on facts",
        ),
        (
            "recoveries.on-model samples.kind=grpo",
            r"recoveries.on-model samples: train.objective: grpo needs problems with a reward",
        ),
        (
            "recoveries.on-model samples.train={tuning: full}",
            "recoveries.on-model samples: train.tuning: full weights cannot continue from a LoRA adapter",
        ),
    ],
)
def test_mistakes_between_parts_of_a_study_are_refused(demo, monkeypatch, override, message):
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(StudyError, match=message):
        build_plan(demo(override))


def test_files_are_identified_by_their_content(demo, tmp_path):
    for name, text in (
        ("a", '{"instruction": "x"}\n'),
        ("b", '{"instruction": "x"}\n'),
        ("c", '{"instruction": "y"}\n'),
    ):
        (tmp_path / f"{name}.jsonl").write_text(text)
    a, b, c = (
        fingerprints(build_plan(demo(f"prompts.source={tmp_path}/{name}.jsonl", "prompts.n=1"))) for name in "abc"
    )
    assert a == b
    assert a != c


def test_another_alias_changes_no_stage(demo):
    # An address holds a name for people to read: it must be the name of the thing, not of the alias.
    study = demo()
    renamed = study.model_copy(
        update={
            "models": {f"my-{alias}": model for alias, model in study.models.items()},
            "pairs": [Pair(student=f"my-{p.student}", teacher=f"my-{p.teacher}") for p in study.pair_list],
        }
    )
    assert {s.address for s in build_plan(renamed).stages} == {s.address for s in build_plan(study).stages}


def test_another_option_of_an_objective_changes_the_training(demo):
    objectives = ["{kind: sft_kl}", "{kind: sft_kl, weight: 0.5}", "{kind: sft_kl, direction: base_student}"]
    trained = [fingerprints(build_plan(demo(f"train.objective={each}")), "train") for each in objectives]
    assert not trained[0] & trained[1]
    assert not trained[0] & trained[2]
    assert trained[0] == fingerprints(build_plan(demo("train.objective=sft_kl")), "train")


def test_a_condition_may_override_training_settings(demo):
    before, after = build_plan(demo()), build_plan(demo("conditions.on-model={train: {objective: sft_kl, lora_r: 32}}"))

    def students(plan, condition):
        return {trial.points[-1].student for trial in plan.trials if trial.condition == condition}

    assert not students(before, "on-model") & students(after, "on-model")
    for condition in ("off-model", "prefill"):
        assert students(before, condition) == students(after, condition)
    assert (before.lora_rank, after.lora_rank) == (8, 32)
    assert build_plan(demo("train.tuning=full")).lora_rank == 0


def test_checkpoints_are_points_of_a_trial_before_its_end(demo):
    plan, more = build_plan(demo()), build_plan(demo("train.checkpoints=[40, 10]"))
    assert fingerprints(plan) < fingerprints(more)
    for trial, with_checkpoints in zip(plan.trials, more.trials, strict=True):
        assert with_checkpoints.points[2:] == trial.points
        first, second = with_checkpoints.points[:2]
        assert [(point.budget, point.step) for point in (first, second)] == [(0, 10), (0, 40)]
        assert first.student == at_step(trial.points[0].student, 10)
        assert first.scores.keys() == trial.points[0].scores.keys()
        assert all(stage.inputs["generations"].inputs["student"] == second.student for stage in second.scores.values())


def test_budgets_of_grpo_are_checkpoints_of_one_training(demo):
    plan = build_plan(demo(PROBLEMS, BY_GRPO))
    trial = trial_of(plan, "off-model", 1, plan.study.pair_list[0].teacher)
    *_, last = trial.points
    assert [point.budget for point in trial.points] == [0, 5, 10, 20]
    assert last.student.settings.train.max_steps == 20
    assert last.student.runtime.checkpoints == (5, 10)
    assert [point.student for point in trial.points[1:-1]] == [at_step(last.student, step) for step in (5, 10)]
    assert last.student.inputs == {"base": trial.points[0].student.inputs["base"], "start": trial.points[0].student}
    assert last.student.settings.train.objective == "grpo"
    assert last.student.settings.train.batch_size == 8
    assert {point.step for point in trial.points} == {None}
    other = build_plan(demo(PROBLEMS.replace("n: 40", "n: 50"), BY_GRPO))
    changed = {stage.name for stage in plan.stages if stage.fingerprint not in fingerprints(other)}
    assert changed
    assert all("-by-grpo" in name for name in changed)


def test_another_version_of_a_grader_changes_the_rewards(demo, monkeypatch):
    before = build_plan(demo(PROBLEMS, BY_GRPO))
    monkeypatch.setattr(BENCHMARKS.module("math500"), "VERSION", 99)
    changed = fingerprints(build_plan(demo(PROBLEMS, BY_GRPO)), "train") - fingerprints(before, "train")
    assert len(changed) == 3 * 2 * 3  # each budget of each off-model student


def test_a_recovery_by_rl_needs_an_objective_with_rewards(demo):
    told = r"on-model samples: train\.objective: this recovery trains on problems with a reward, and sft does not"
    with pytest.raises(StudyError, match=told):
        build_plan(demo(PROBLEMS, BY_GRPO, "recoveries.on-model samples.train={objective: sft}"))


def test_on_policy_distillation_needs_no_samples_of_the_teacher(demo):
    plan = build_plan(demo("train.objective=on_policy_distillation", "recoveries={}", "measures={}"))
    assert prompted(plan) == set()
    trial = trial_of(plan, "off-model", 1, "number-words")
    assert {role: needed.name for role, needed in trial.points[0].student.inputs.items()} == {
        "base": "steps",
        "teacher": "words",
    }
    assert trial.training_data == {}
    other = build_plan(demo("train.objective=on_policy_distillation", "recoveries={}", "prompts.seed=1"))
    assert not fingerprints(plan, "train") & fingerprints(other, "train")


def test_sdft_uses_the_teachers_samples_as_demonstrations(demo):
    plan = build_plan(demo("train.objective=sdft", "recoveries={}"))
    student = trial_of(plan, "off-model", 1, "number-words").points[0].student
    assert student.inputs["data"].inputs["base"].name == "words"
    assert student.settings.sampling.max_tokens == 48
    assert build_plan(demo()).trials[0].points[0].student.settings.sampling is None


def test_settings_without_an_effect_are_not_part_of_a_training(demo):
    def students(*overrides: str) -> set[str]:
        return fingerprints(build_plan(demo("recoveries={}", *overrides)), "train")

    unused = ("train.num_train_epochs=2", "train.min_steps=9")
    assert students("train.max_steps=3") == students("train.max_steps=3", *unused)
    longer = students("train.num_train_epochs=3") | students("train.min_steps=900")
    assert len(students() | longer) == 3 * len(students())
    assert students() == students("train.kl_every_steps=3", "resources.train.save_every_seconds=7")


def test_a_noisy_student_is_recovered_by_an_adapter_on_its_own_checkpoint(demo):
    plan = build_plan(
        demo("conditions={noise: {kind: weight_noise}}", "recoveries.on-model samples.conditions=[noise]")
    )
    for trial in plan.trials:
        start = trial.points[0].student
        assert start.kind == "weights"
        for point in trial.points[1:]:
            assert point.student.inputs["base"] == start
            assert "start" not in point.student.inputs
            assert point.student.inputs["data"].inputs["base"] == start.inputs["base"]
    scaled = build_plan(
        demo("conditions={half: {kind: interpolation, share: 0.5}}", "recoveries.on-model samples.conditions=[half]")
    )
    point = scaled.trials[0].points[1]
    assert point.student.inputs["start"] == scaled.trials[0].points[0].student, "an adapter, scaled, is trained further"


def test_a_condition_and_a_recovery_may_be_for_some_pairs(small):
    everywhere = build_plan(small())
    plan = build_plan(small("conditions.prefill.pairs=[student / terse]", "recoveries.own.pairs=[student / words]"))
    assert {t.teacher for t in plan.trials if t.condition == "prefill"} == {"terse"}
    assert {t.teacher for t in plan.trials if t.recovery} == {"words"}
    assert {t.teacher for t in plan.trials if t.condition == "off-model"} == {"words", "terse"}
    assert fingerprints(plan) < fingerprints(everywhere)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["conditions.prefill.pairs=[student / terze]"], r'conditions\.prefill\.pairs: "student / terze" is not among'),
        (["conditions.prefill.pairs=words"], r"conditions\.prefill\.pairs: give a list"),
        (
            ["conditions.off-model={pairs: [student / terse]}", "recoveries.own.pairs=[student / words]"],
            r'recoveries\.own\.pairs: "student / words" is not among the pairs of off-model',
        ),
        (
            [
                "conditions.prefill.pairs=[student / terse]",
                "hypotheses=[{experiment: 7, source: ours, claim: c, expected: higher, versus: prefill, "
                "compare: {condition: on-model, benchmark: maths}}]",
            ],
            r"prefill is not for student / words \(pairs\)",
        ),
    ],
)
def test_unknown_pairs_are_refused(small, overrides, said):
    with pytest.raises(StudyError, match=said):
        build_plan(small(*overrides))


def test_stages_per_experiment_and_together(small):
    """Both need the off-model student and the untrained models; one needs the recovery."""
    one = "{experiment: 1, source: ours, claim: c, expected: lower, compare: {condition: off-model, benchmark: maths}}"
    other = (
        "{experiment: 6, source: ours, claim: c, expected: higher, versus: off-model, "
        "compare: {condition: off-model, benchmark: maths, recovery: own, budget: 8}}"
    )
    counted = [
        stages_per_experiment(build_plan(small("conditions={off-model: }", f"hypotheses=[{found}]")))
        for found in (one, other)
    ]
    plan = build_plan(small("conditions={off-model: }", f"hypotheses=[{one}, {other}]"))
    assert [apart == together for _, apart, together in counted] == [True, True]
    first, second = (together for *_, together in counted)
    assert first < second == len(plan.stages)
    assert stages_per_experiment(plan) == (2, first + second, second)


def test_a_condition_may_be_evaluated_on_some_benchmarks(small):
    everywhere, some = build_plan(small()), build_plan(small("conditions.on-model={benchmarks: [facts]}"))
    asked = {t.condition: set(t.points[-1].scores) for t in some.trials}
    assert asked == {"off-model": {"maths", "facts"}, "on-model": {"facts"}, "prefill": {"maths"}}
    assert fingerprints(some) < fingerprints(everywhere)
    with pytest.raises(StudyError, match=r'conditions\.on-model\.benchmarks: "fact" is not among .*; did you mean'):
        small("conditions.on-model={benchmarks: [fact]}")
    with pytest.raises(StudyError, match=r"conditions\.on-model\.benchmarks: give a list"):
        small("conditions.on-model={benchmarks: maths}")
