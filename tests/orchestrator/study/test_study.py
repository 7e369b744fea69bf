"""The study file: each mistake has a message with its place and what to write."""

import os

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.study.load import load_study, without_secrets
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError
from orchestrator.study.tracking import Tracking
from tests.conftest import SMALL

PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("benchmark={}", ['benchmark: unknown key; did you mean "benchmarks"?']),
        ("train.lerning_rate=1", ['train.lerning_rate: unknown key; did you mean "learning_rate"?']),
        ("recoveries.own.train.epoch=1", ["recoveries.own: train.epoch: unknown key; ", "num_train_epochs"]),
        (
            "recoveries.own.search={benchmark: maths, recoverd: 1}",
            ["recoveries.own.search.recoverd: unknown key", '"recovered"?'],
        ),
        ("resources.engine.gpu=1", ['resources.engine.gpu: unknown key; did you mean "gpus"?']),
        ("benchmarks.maths.promt=x", ['benchmarks.maths.promt: unknown key; did you mean "prompt"?']),
        (
            "models.other=rows.jsonl",
            ['models.other: "rows.jsonl" is no id of the hub', "./FOLDER for a local checkpoint"],
        ),
        ("models.other=rows.parquet", ['models.other: "rows.parquet" is no id of the hub']),
        ("models.other={hub: a/b/c}", ['models.other: "a/b/c" is no id of the hub, as Qwen/Qwen3-8B']),
        (
            "prompts.source=./rows",
            ['prompts.source: "./rows" is neither a file ending in .jsonl, .parquet or .txt', "as org/name"],
        ),
        (
            "benchmarks.maths.source=s3://bucket/rows",
            ['benchmarks.maths.source: "s3://bucket/rows" is neither'],
        ),
        ("data.more={source: ./rows, prompt: q, answer: a}", ['data.more.source: "./rows" is neither a file']),
        (
            "data.more={source: synthetic, prompt: q, answer: a}",
            ["data.more: source: there are no synthetic answers: give a file, or a data set of the hub"],
        ),
        (
            "models.other={organsm: steps}",
            ["models.other: give exactly one of organism, hub, path, gguf, trained_from and api"],
        ),
        ("models.other={hub: a/b, revison: x}", ['models.other.revison: unknown key; did you mean "revision"?']),
        ("models.other={hub: a/b, key_env: KEY}", ["models.other.key_env: has no effect here: it is for models beh"]),
        ("models.other={api: x, parameters: 1}", ["models.other.parameters: ", "use cost_assumptions.api"]),
        ("pairs=[student]", ['pairs.0: write "STUDENT / TEACHER"', 'not "student"']),
        ("pairs.teachers=[]", ["pairs.teachers: give at least 1 item, not []"]),
        ("resources.gpus=0", ["resources.gpus: give a number that is greater than 0, not 0"]),
        (
            "resources.engine={gpus: 4, tensor_parallel_size: 3}",
            ["resources.engine: gpus: 4 is not tensor_parallel_size 3 times pipeline_parallel_size 1: set gpus: 3"],
        ),
        ("resources.engine={gpus: 3, pipeline_parallel_size: 2}", ["gpus: 3 is not", "set gpus: 2"]),
        ("resources.engine.pipeline_parallel_size=2", ["pipeline_parallel_size needs GPUs", "fails with it on CPUs"]),
        ("resources.engine={gpus: 4, nodes: 3}", ["nodes: 4 processes", "by 3 machines: set nodes to a divisor of 4"]),
        ("resources.engine.batch_invariant=true", ["batch_invariant has no effect without GPUs"]),
        ("resources.engines={steps: {gpus: 2}}", ["resources.engines", "steps"]),
        ("resources.engines={student: {gpus: 2}}", ["resources.engines.student: all toy models share one engine"]),
        ("resources.train.gpus=4", ["resources.train.gpus: a worker has at most one GPU, not 4: set workers: 4"]),
        ("conditions.off-model.train={tuning: full, lora_alpha: 8}", ["train.lora_alpha has no effect on full"]),
        ("train.lr=1", ["train.lr: unknown key; use learning_rate"]),
        ("dtype=bf16", ['dtype: give float32, bfloat16 or float16, not "bf16"; did you mean "bfloat16"?']),
        ("prompts.source=alpaca.csv", ["prompts.source: alpaca.csv: rows are read from files that end in .jsonl"]),
        ("benchmarks.facts={kind: mmlu, n: 99999}", ["benchmarks.facts: n: mmlu has 14,042 examples", "99,999"]),
        ("benchmarks.maths.n=all", ["benchmarks.maths: n: synthetic examples have no end: give a number"]),
        ("pairs.student=[x]", ['pairs.student: unknown key; did you mean "students"?']),
        ("pairs=[{student: terse, teacher: words, techer: x}]", ["pairs.0.techer: unknown key", '"teacher"?']),
        ("train.zzzz=1", ["train.zzzz: unknown key; known are", "learning_rate"]),
        ("pairs.teachers=[wrds]", ['pairs: teacher "wrds" is not among models and data; did you mean "words"?']),
        ("pairs=[{student: studnt, teacher: words}]", ['student "studnt"', 'did you mean "student"?']),
        ("conditions.on-modle={}", ['conditions.on-modle: there is no condition "on_modle"', '"on_model"?']),
        ("conditions.on-modle={}", ["or give on-modle a kind"]),
        ("conditions.x={kind: prefil}", ['conditions.x: there is no condition "prefil"', '"prefill"?']),
        ("conditions.off-model=3", ["conditions.off-model: give a mapping of keys to values, not 3"]),
        ("conditions.off-model.pairs=[student / wrds]", ['conditions.off-model.pairs: "student / wrds"', "words"]),
        ("conditions.prefill.token=2", ['conditions.prefill.token: unknown key; did you mean "tokens"?']),
        ("conditions.prefill.tokens=0", ["conditions.prefill.tokens: ", "greater than 0"]),
        ("conditions.prefill={}", ["conditions.prefill.benchmarks: "]),
        ("conditions={}", ["conditions: "]),
        ("recoveries.own.conditions=[offmodel]", ["recoveries.own.conditions: ", 'did you mean "off-model"?']),
        ("recoveries.own.kind=on_model", ["recoveries.own.kind: ", 'did you mean "on_model_sft"?']),
        ("recoveries.own.search.benchmark=mats", ["recoveries.own.search.benchmark: ", 'did you mean "maths"?']),
        ("recoveries.own.budgets=[4, 8, 4]", ["recoveries.own.budgets: the same twice in 4, 8, 4"]),
        ("recoveries.own.budgets=[0, 4]", ["recoveries.own.budgets.0: ", "greater than 0"]),
        ("seeds=[1, 2, 1]", ["seeds: the same twice in 1, 2, 1"]),
        ("seeds=[]", ["seeds: "]),
        pytest.param("pairs.teachers=[words, words]", ["pairs"]),
        ("train.learning_rate=fast", ["train.learning_rate: ", "give a number"]),
        ("train={}", ["train.learning_rate: missing"]),
        ("benchmarks.maths.kind=math", ["benchmarks.maths.kind: ", 'did you mean "math500"?', "lm_eval:<task>"]),
        ("benchmarks.maths.samples=4", ["benchmarks.maths: samples: ", "set temperature"]),
        ("benchmarks.maths.score=pass@2", ["benchmarks.maths: score: pass@2 needs 2 samples, and there are 1"]),
        ("benchmarks.maths.score=best", ["benchmarks.maths: score: there is no 'best'", "pass@k"]),
        ("benchmarks.follow={kind: ifeval, score: majority}", ["benchmarks.follow: score: ", "vote"]),
        ("benchmarks.maths.answer_by=logprob", ["benchmarks.maths: answer_by: ", "not multiple choice"]),
        ("benchmarks.facts={kind: mmlu, answer_by: logprob, temperature: 1}", ["leave samples, temperature"]),
        ("benchmarks.facts={kind: mmlu, thinking: 'on'}", ["benchmarks.facts: thinking: ", "one token"]),
        ("benchmarks.maths.top_p=0.9", ["benchmarks.maths: top_p has no effect on greedy completions"]),
        ("benchmarks.maths.top_k=5", ["benchmarks.maths: top_k has no effect on greedy completions"]),
        ("benchmarks.maths.top_k=-1", ["benchmarks.maths.top_k: give a number that is at least 0, not -1"]),
        ("benchmarks.maths.min_p=2", ["benchmarks.maths.min_p: give a number that is at most 1, not 2"]),
        ("sampling={max_tokens: 8, temperature: 0, min_p: 0.1}", ["sampling: min_p has no effect on greedy"]),
        ("benchmarks.gsm={kind: 'lm_eval:gsm8k', top_k: 5}", ["benchmarks.gsm: top_k has no effect on greedy"]),
        (
            "benchmarks.gsm={kind: 'lm_eval:gsm8k', samples: 4}",
            ["benchmarks.gsm: samples: 4 greedy", "set temperature"],
        ),
        (
            "benchmarks.gsm={kind: 'lm_eval:gsm8k', thinking: off, chat: false}",
            ["benchmarks.gsm: thinking has no effect without a chat template: set chat to true"],
        ),
        ("benchmarks.maths.temperature=3", ["benchmarks.maths.temperature: "]),
        ("benchmarks.gsm={kind: 'lm_eval:gsm8k', source: synthetic}", ["benchmarks.gsm: source: "]),
        ("benchmarks.maths.thinking=maybe", ["benchmarks.maths.thinking: "]),
        ("benchmarks.maths.prompt=Solve it.", ["benchmarks.maths: prompt: it names nothing in braces", "as {problem}"]),
        ("benchmarks.maths.prompt='{problm}'", ["prompt: it names problm in braces; it must name a column of math500"]),
        (r"benchmarks.maths.prompt='{problem} \boxed{}'", ["prompt: it has braces without a column's name; write {{"]),
        ("benchmarks.maths.prompt='{problem} {'", ["benchmarks.maths: prompt: Single '{'", "write {{ and }}"]),
        (PROBLEMS.replace("}", ", prompt: Solve it.}"), ["rl_problems: prompt: it names nothing in braces"]),
        ("benchmarks.maths.chat=false", ["benchmarks.maths.chat: has no effect here: it is for tasks of lm-eval"]),
        (
            "benchmarks.gsm={kind: 'lm_eval:gsm8k', score: majority}",
            [
                "benchmarks.gsm.score: has no effect on a task of lm-eval",
                "that offmodel grades (kind: gsm8k, ifeval, math500",
            ],
        ),
        ("measures.kl=[mats]", ["measures.kl: ", 'did you mean "maths"?']),
        (
            "models.other={organism: steps, hub: a/b}",
            ["models.other: give exactly one of organism, hub, path, gguf, trained_from and api"],
        ),
        ("models.other={revision: main}", ["models.other: give exactly one"]),
        ("name=a b", ["name: "]),
        ("train.objective=stf", ['train.objective: there is no objective "stf"; did you mean "sft"?']),
        ("train.objective={weight: 1}", ["train.objective: give the objective's name, or a mapping", "kind"]),
        ("train.objective=3", ["train.objective: give the objective's name"]),
        ("train.objective={kind: sft_kl, wieght: 1}", ['train.objective: sft_kl: "wieght"', 'mean "weight"?']),
        (
            "train.objective={kind: sft_kl, weight: -1}",
            ["train.objective: weight: give a number that is at least 0, not -1"],
        ),
        ("train.objective={kind: sft_kl, weight: much}", ["train.objective: weight: ", "give a number"]),
        ("train.objective={kind: sft_kl, direction: x}", ["train.objective: direction: ", "base_student"]),
        (
            "train.objective={kind: grpo, num_generations: 2.5}",
            ["train.objective: num_generations: ", "give a whole number"],
        ),
        (
            "train={learning_rate: 1, objective: sdft, drop_least_likely: 0.1}",
            ["train: drop_least_likely has no effect on sdft"],
        ),
        (
            "train={learning_rate: 1, objective: sdft, loss_on: after_reasoning}",
            ["loss_on has no effect on sdft"],
        ),
        ("train={learning_rate: 1, objective: lm, loss_on: empty_reasoning}", ["loss_on has no effect"]),
        ("train.steps_per_generation=2", ["train: steps_per_generation has no effect on sft"]),
        ("train.loss_on=reasoning", ["train.loss_on: ", "after_reasoning"]),
        ("train.drop_least_likely=1", ["train.drop_least_likely: ", "less than 1"]),
        ("train.checkpoints=[0]", ["train.checkpoints.0: ", "greater than 0"]),
        ("resources.train.offload=optimizer", ["resources.train: offload has no effect without ZeRO"]),
        ("resources.train={zero: 2, offload: all}", ["resources.train: offload: ", "zero: 3 only"]),
        ("recoveries.own.train.learning_rate=fast", ["recoveries.own: train.learning_rate: ", "give a number"]),
        (
            "recoveries.own.train.steps_per_generation=2",
            ["recoveries.own: train: steps_per_generation has no effect on sft"],
        ),
        ("recoveries.own.train.objective=stf", ["recoveries.own: train.objective: ", 'did you mean "sft"?']),
        (
            "recoveries.own.train.lora_r=4",
            ["recoveries.own.train: lora_r has no effect: training continues the student's adapter or weights"],
        ),
        ("recoveries.other={conditions: [off-model], budgets: [1]}", ["recoveries.other.kind: missing"]),
        ("recovery={conditions: [off-model], budgets: [4]}", ['recovery: unknown key; did you mean "recoveries"?']),
        ("recoveries.own.bugdets=[4]", ['recoveries.own.bugdets: unknown key; did you mean "budgets"?']),
        ("recoveries.own.kind=gpro", ["recoveries.own.kind: ", 'did you mean "grpo"?']),
        ("conditions.off-model.train=3", ["conditions.off-model.train: ", "mapping of keys to values"]),
        ("recoveries.own.zzzz=1", ["recoveries.own.zzzz: unknown key; known are budgets, conditions, kind", "train"]),
        ("measures.kl=maths", ["measures.kl: give true or a list of benchmarks, as [maths]"]),
        (
            "hypotheses=[{source: ours, claim: x, compare: on-model, expected: same}]",
            ["expected: same needs a margin, such as margin"],
        ),
        (
            "hypotheses=[{source: ours, claim: x, compare: on-model, expected: lower, margin: 1}]",
            ["margin has no effect on expected: lower"],
        ),
        ("train.r=4", ["train.r: unknown key; use lora_r"]),
        ("train.per_device_train_batch_size=4", ["use batch_size"]),
        ("train.bf16=true", ["train.bf16: unknown key; use dtype at the top level"]),
        ("train.gradient_accumulation_steps=4", ["use resources.train.max_tokens_per_microbatch"]),
        ("train.target_modules=all", ["train.target_modules: give all-linear, or a list of names", 'not "all"']),
        ("train.target_modules=[]", ["train.target_modules: give all-linear, or a list of names", "not []"]),
        ("train.target_modules=[1]", ["train.target_modules: give all-linear, or a list of names", "not [1]"]),
        ("train.lora_dropout=1", ["train.lora_dropout: give a number that is less than 1, not 1"]),
        ("conditions.off-model.train={tuning: full, lora_dropout: 0.1}", ["train.lora_dropout has no effect on full"]),
        ("recoveries.own.train.target_modules=[v_proj]", ["target_modules has no effect: training continues the stu"]),
        ("train.max_tokens=9", ["train.max_tokens: belongs to sampling, or to rl_problems"]),
        ("train.objective={kind: sdft, max_tokens: 9}", ["train.objective: sdft: max_tokens belongs to sampling"]),
        ("train.num_generations=4", ["train.num_generations: ", "objective: {kind: grpo, num_generations: 16}"]),
        ("benchmarks.maths.num_fewshot=4", ["benchmarks.maths.num_fewshot: unknown key; use shots"]),
        ("benchmarks.maths.limit=4", ["benchmarks.maths.limit: unknown key; use n"]),
        ("benchmarks.facts.shots=5", ['{kind: "lm_eval:mmlu", shots: 5}']),
        ("benchmarks.maths.n=full", ['benchmarks.maths.n: give a whole number, or all, not "full"']),
        ("resources.train.deepspeed=2", ["resources.train.deepspeed: unknown key; use zero"]),
        ("models.other={model: a/b}", ["the key of a model of the hub is hub"]),
        ("models.other={hub: a/b, parameters: 8B}", ["models.other.parameters: ", "8.0e+9", '"8B"']),
        ("conditions.x={kind: sft}", ["it is an objective: write kind: off_model and train: {objective: sft}"]),
        ("conditions.a/b={kind: off_model}", ["conditions: a name has no slash", '"a-b"']),
        ("resources.train.workers=64", ["resources.train.workers: 64 are more than the 32 rows of a step"]),
        ("conditions.prefill.train={}", ["conditions.prefill.train: unknown key; known are benchmarks"]),
        (
            "rl_problems={kind: math, source: x, n: 1, max_tokens: 1}",
            ['rl_problems.kind: completions for "math" cannot', '"math500"?'],
        ),
        (
            "rl_problems={kind: 'lm_eval:gsm8k', source: x, n: 1, max_tokens: 1}",
            ["rl_problems.kind: ", "known are gsm8k, ifeval"],
        ),
        ("rl_problems={kind: mmlu, source: x, n: 0, max_tokens: 1}", ["rl_problems.n: ", "greater than 0"]),
        ("rl_problems={kind: mmlu, source: x, n: 1}", ["rl_problems.max_tokens: missing"]),
        (
            "rl_problems={kind: mmlu, source: x, n: 1, max_tokens: 1, prmpt: x}",
            ['problems.prmpt: unknown key; did you mean "p'],
        ),
    ],
)
def test_a_mistake_has_a_message_with_its_place(small, override, parts):
    with pytest.raises(StudyError) as raised:
        build_plan(small(override))
    message = str(raised.value)
    assert all(part in message for part in parts), message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["conditions.prefill={tokens: 16, benchmarks: [maths]}"], "at most 16 tokens"),
        (["conditions.prefill={tokens: 1, benchmarks: [facts]}"], "at most 1 tokens"),
        (["conditions.prefill={until: x, benchmarks: [facts]}"], "at most 1 tokens"),
        (
            [PROBLEMS.replace("synthetic", "HuggingFaceH4/MATH-500"), "benchmarks.real={kind: math500, n: 5}"],
            "rl_problems.source: HuggingFaceH4/MATH-500 is the source of benchmarks.real",
        ),
        (["conditions.prefill={from_model: base, benchmarks: [maths]}"], "give student or teacher"),
        (
            ["resources.train.workers=4", "conditions.x={kind: off_model, train: {batch_size: 2}}"],
            "conditions.x: resources.train.workers: 4 are more than the 2 rows of a step",
        ),
        (
            [
                "train.drop_least_likely=0.1",
                PROBLEMS,
                "recoveries.own={kind: grpo, conditions: [off-model], budgets: [2]}",
            ],
            "drop_least_likely: 0.1 is inherited from the study's train and has no effect on grpo: add",
        ),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(small, overrides, part):
    with pytest.raises(StudyError, match=part):
        build_plan(small(*overrides))


@pytest.mark.parametrize("source", ["null", "openai/gsm8k"])
def test_problems_may_be_of_the_training_split_of_a_benchmarks_data_set(small, source):
    problems = "rl_problems={kind: gsm8k, source: openai/gsm8k, n: 5, max_tokens: 8}"
    build_plan(small(problems, f"benchmarks.gsm={{kind: gsm8k, source: {source}, n: 5}}"))


def test_a_refused_value_that_is_inherited_is_undone_as_its_message_says(small):
    recovery = "recoveries.own={kind: grpo, conditions: [off-model], budgets: [2], train: {drop_least_likely: 0.0}}"
    build_plan(small("train.drop_least_likely=0.1", PROBLEMS, recovery))


def test_all_mistakes_are_reported_together(small):
    with pytest.raises(StudyError) as raised:
        small("train.rnk=4", "train.max_step=4", "sampling.max_token=4", "dtype=float8")
    lines = str(raised.value).splitlines()
    assert len(lines) == 4
    places = ("train.rnk", "train.max_step", "sampling.max_token", "dtype")
    assert all(any(f"small.yaml: {place}: " in line for line in lines) for place in places)


def test_all_unknown_names_are_reported_together(small):
    with pytest.raises(StudyError) as raised:
        small("measures.kl=[mats]", "seeds=[1, 1]", "recoveries.own.conditions=[offmodel]")
    assert len(str(raised.value).splitlines()) == 3


def test_all_wrong_options_are_reported_together(small):
    study = small("conditions.prefill={token: 2}", "recoveries.own.trian={}", "conditions.off-model.sampling=3")
    with pytest.raises(StudyError) as raised:
        build_plan(study)
    places = [line.partition(": ")[0] for line in str(raised.value).splitlines()]
    expected = ["off-model.sampling", "prefill.benchmarks", "prefill.token"]
    assert sorted(places) == [*(f"conditions.{place}" for place in expected), "recoveries.own.trian"]


def test_a_kind_may_be_written_with_hyphens(small):
    study = small("conditions.again={kind: off-model}", "recoveries.own.kind=on-model-sft")
    assert study.conditions["again"].kind == study.conditions["off-model"].kind == "off_model"
    assert study.recoveries["own"].kind == "on_model_sft"


def test_all_examples_of_a_benchmark_may_be_asked_for(small):
    study = small("benchmarks.facts={kind: mmlu, n: all}", "prompts={source: a/b, n: all}")
    assert study.benchmarks["facts"].n is study.prompts.n is None
    assert small("benchmarks.facts={kind: mmlu}").benchmarks["facts"].n == 200


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("train.lora_r", "write key.subkey=value"),
        ("train.lora_r = 4", "write train.lora_r=4, without blanks around ="),
        ("seeds.first=1", "seeds is not a mapping; replace all of it"),
        ("models.student.hub=a/b", "student is not a mapping; replace all of it"),
        pytest.param("seeds=[1, 2", "seeds=[1, 2"),
    ],
)
def test_a_bad_override_is_refused(small, override, part):
    with pytest.raises(StudyError) as raised:
        small(override)
    assert part in str(raised.value)


@pytest.mark.parametrize(
    ("text", "part"), [("a: [1", "not valid YAML"), ("- a\n", "a mapping"), ("# a study\n", "the file is empty")]
)
def test_a_file_without_a_study_is_refused(tmp_path, text, part):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=part):
        load_study(path)


@pytest.mark.parametrize("repeated", ["seeds: [3]", '"seeds": [3]', "train: {lora_r: 2, tuning: full, lora_r: 4}"])
def test_a_key_given_twice_is_refused_with_its_lines(tmp_path, repeated):
    path = tmp_path / "study.yaml"
    path.write_text(f"name: x\nseeds: [1]\n{repeated}\n")
    with pytest.raises(StudyError, match=r"study\.yaml: \"(seeds|lora_r)\" is given twice, in lines [23] and 3"):
        load_study(path)


def test_a_mapping_may_replace_keys_of_one_that_it_merges(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(SMALL.replace("train: {", "train: &train {") + "tracking: {<<: *train, learning_rate: 2}\n")
    with pytest.raises(StudyError, match=r"tracking\.learning_rate: unknown key"):
        load_study(path)


def test_a_key_given_twice_in_an_override_is_refused(small):
    with pytest.raises(StudyError, match='"lora_r" is given twice'):
        small("train={learning_rate: 1, lora_r: 2, lora_r: 4}")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n" for before, after in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"name: x\nseeds: [\xff]", r"study\.yaml, line 2: not UTF-8"),
        (b"name: x\nseeds: &a [*a]", r'"\*a" is part of what it repeats in line 2'),
        (BOMB.encode(), "more than 100,000 values in line 5"),
        (b"name: " + b"[" * 5000, "nested too deeply"),
        (rb'name: "\ud800"', r"'\\ud800' in line 1 cannot be printed"),
        (rb'name: "\e[31m"', r"'\\x1b' in line 1 cannot be printed"),
        (b"name: !!timestamp x", "not valid YAML"),
        (b"a: [1\nb: 2", "not valid YAML in line 2: expected ',' or ']'"),
    ],
)
def test_what_no_study_means_is_refused_in_one_line(tmp_path, text, part):
    path = tmp_path / "study.yaml"
    path.write_bytes(text)
    with pytest.raises(StudyError, match=part) as raised:
        load_study(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("train.learning_rate=.inf", "train.learning_rate: give a finite number, not Infinity"),
        ("train.learning_rate=.nan", "train.learning_rate: give a finite number, not NaN"),
        ("sampling.max_tokens=1" + "0" * 20, "sampling.max_tokens: give a whole number from"),
        ("seeds=[1, -3000000000]", "seeds: give a whole number from"),
        ("train.objective={kind: grpo, num_generations: 3000000000}", "train.objective: give a whole number from"),
    ],
)
def test_numbers_without_a_sense_are_refused(small, override, part):
    with pytest.raises(StudyError, match=part):
        small(override)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"absent\.yaml: cannot be read"):
        load_study(tmp_path / "absent.yaml")


def test_overrides_are_yaml_and_the_last_one_counts(small):
    study = small(
        "train.tuning=full",
        "seeds=[3, 4]",
        "max_model_len=512",
        "max_model_len=null",
        "train.learning_rate=1e-4",
        "dtype=float16",
    )
    assert (study.train.tuning, study.seeds, study.max_model_len, study.dtype) == ("full", [3, 4], None, "float16")
    assert study.train.learning_rate == pytest.approx(1e-4)


def test_an_override_may_contain_equals_signs_and_create_its_parents(small):
    study = small("prompts.system=a=b", "tracking.experiment=x", "recoveries.own.search.benchmark=maths")
    assert study.prompts.system == "a=b"
    assert study.tracking.experiment == "x"
    assert study.recoveries["own"].search.benchmark == "maths"


def test_a_grid_is_every_student_with_every_teacher(small):
    study = small("pairs.students=[student, terse]")
    pairs = [(pair.student, pair.teacher) for pair in study.pair_list]
    assert pairs == [("student", "words"), ("student", "terse"), ("terse", "words"), ("terse", "terse")]


def test_pairs_may_be_listed(small):
    study = small("pairs=[{student: words, teacher: terse}, student / words]")
    assert [(p.student, p.teacher) for p in study.pair_list] == [("words", "terse"), ("student", "words")]


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("organism:steps", {"organism": "steps"}),
        ("org/model", {"hub": "org/model"}),
        ("./folder", {"path": os.path.abspath("folder")}),
        ("/folder", {"path": "/folder"}),
        ("~/folder", {"path": os.path.expanduser("~/folder")}),
        ("file.gguf", {"gguf": os.path.abspath("file.gguf")}),
        ("{package: a_package, gguf: b/c.gguf}", {"package": "a_package", "gguf": "b/c.gguf"}),
    ],
)
def test_a_model_may_be_given_by_text(small, text, source):
    model = small(f"models.student={text}").models["student"]
    assert model.model_dump(exclude_unset=True) == source


def test_secrets_are_refused_in_a_study_file_and_never_shown():
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_PASSWORD"):
        Tracking(uri="https://user:secret@mlflow.example.com")
    assert without_secrets("postgresql://user:secret@host/db") == "postgresql://host/db"
    assert without_secrets("s3://bucket/runs") == "s3://bucket/runs"
    assert without_secrets("runs") == "runs"


def test_thinking_may_be_a_yaml_boolean(small):
    switched = [
        small(f"benchmarks.maths.thinking={word}").benchmarks["maths"].thinking for word in ("on", "off", "empty")
    ]
    assert switched == ["on", "off", "empty"]


def test_an_objective_is_a_name_or_a_mapping_and_its_defaults_are_written_out(small):
    assert small().train.objective == small("train.objective=sft").train.objective == {"kind": "sft"}
    penalty = {"kind": "sft_kl", "weight": 1.0, "direction": "student_base"}
    assert small("train.objective=sft_kl").train.objective == penalty
    assert small("train.objective={kind: sft_kl, weight: 0.5}").train.objective == {**penalty, "weight": 0.5}
    grpo = small("train.objective={kind: grpo, num_generations: 4}", "train.steps_per_generation=2").train
    assert (grpo.objective["num_generations"], grpo.objective["epsilon"], grpo.traits.on_policy) == (4, 0.2, True)


def test_settings_that_have_an_effect_are_accepted(small):
    learnt = small("train={learning_rate: 1, drop_least_likely: 0.1, loss_on: after_reasoning, checkpoints: [5]}").train
    assert (learnt.drop_least_likely, learnt.loss_on, learnt.checkpoints) == (0.1, "after_reasoning", [5])
    place = small("resources.train={zero: 3, offload: all, workers: 2, gradient_checkpointing: true}").resources.train
    assert (place.zero, place.offload, place.workers) == (3, "all", 2)


def test_changed_training_settings_keep_the_others(small):
    recipe = small("train={learning_rate: 0.1, lora_r: 4, objective: {kind: sft_kl, weight: 0.5}}").train
    changed = recipe.changed({"objective": {"kind": "sft_kl", "direction": "base_student"}, "num_train_epochs": 3})
    assert (changed.learning_rate, changed.lora_r, changed.num_train_epochs) == (0.1, 4, 3.0)
    assert changed.objective == {"kind": "sft_kl", "weight": 1.0, "direction": "base_student"}
    assert recipe.changed({}) == recipe


def test_a_study_survives_a_round_trip_through_json(small):
    study = small("train.objective={kind: sft_kl, weight: 0.5}", PROBLEMS, "conditions.off-model.train={lora_r: 2}")
    assert Study.model_validate_json(study.model_dump_json()) == study


def test_paths_become_absolute(small, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    study = small(PROBLEMS.replace("synthetic", "rows.jsonl"), "prompts.source=rows.jsonl")
    assert study.rl_problems.source == study.prompts.source == str(tmp_path / "rows.jsonl")
    assert small(PROBLEMS).rl_problems.source == "synthetic"
