"""Tasks of lm-eval on our engine, against lm-eval's own Hugging Face model with the same weights and rows."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from evaluators.engines.requests import Completion, RequestOutput, TokenLogprobs
from evaluators.engines.vllm_engine import Engine
from evaluators.lm_eval_tasks import LmEvalTask, TaskSampling, check, index, run_task
from evaluators.lm_eval_tasks.evaluate import evaluate
from evaluators.lm_eval_tasks.load import with_rows
from evaluators.lm_eval_tasks.task import LmEvalResult
from organisms import shipped
from organisms.rows import benchmark_rows

pytestmark = pytest.mark.slow

STEPS = str(shipped.FOLDER / "steps")
CONTEXT = 1024
REAL = os.environ.get("OFFMODEL_REAL_DATA")


@pytest.fixture(scope="module", autouse=True)
def tasks(tmp_path_factory):
    """Small tasks for tests and a few of lm-eval's, as a small index in place of the index of all tasks."""
    from lm_eval import tasks

    lm_eval, own = Path(tasks.__file__).parent, tmp_path_factory.mktemp("tasks")
    for name, original, settings in (
        ("short_math", "hendrycks_math/hendrycks_math500", "{max_gen_toks: 48}"),
        ("short_ifeval", "ifeval/ifeval", "{until: [], max_gen_toks: 24}"),
        ("sampled_math", "hendrycks_math/hendrycks_math500", "{do_sample: true, temperature: 2.0, max_gen_toks: 8}"),
        (
            "sampled_gsm8k",
            "gsm8k/gsm8k",
            '{until: ["Q:", "<|user|>", ""], do_sample: true, temperature: 0.7, top_p: 0.9, max_gen_toks: 30}',
        ),
        ("beamed_gsm8k", "gsm8k/gsm8k", "{num_beams: 4}"),
    ):
        text = f"include: {lm_eval / original}.yaml\ntask: {name}\ngeneration_kwargs: {settings}\n"
        (own / f"{name}.yaml").write_text(text)
    manager = tasks.TaskManager(include_path=[lm_eval / "gsm8k", lm_eval / "mmlu", own], include_defaults=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "whole", lambda: manager)
        yield


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(STEPS, "float32", max_model_len=CONTEXT, lora_rank=8, threads=1)


@pytest.fixture(scope="module")
def reference():
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=STEPS, dtype="float32", device="cpu", batch_size=8, max_length=CONTEXT)


@pytest.fixture
def rows(tmp_path):
    def write(rows: list[dict]) -> str:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def real(name: str, n: int) -> list[dict]:
    if not REAL:
        pytest.skip("OFFMODEL_REAL_DATA does not name a folder with the real rows")
    return [json.loads(line) for line in (Path(REAL) / name).read_text().splitlines()[:n]]


def theirs(model, task: LmEvalTask) -> dict:
    """lm-eval's results of a task with its own Hugging Face model."""
    from lm_eval import simple_evaluate

    return simple_evaluate(
        model,
        tasks=[with_rows(task, task.rows)],
        num_fewshot=task.shots,
        apply_chat_template=task.chat,
        bootstrap_iters=0,
        task_manager=index.manager(task.name),
    )


def ours(engine: Engine, task: LmEvalTask, adapter: Path | None = None) -> LmEvalResult:
    return evaluate(task, partial(engine.generate, adapter=adapter), partial(engine.score, adapter=adapter))


def agree(one: LmEvalResult, other: dict) -> list:
    """Assert equal metrics; return pairs of our examples and their samples."""
    (name,) = one.metric
    values = {key: value for key, value in other["results"][name].items() if isinstance(value, float)}
    assert {key: one.results[name][key] for key in values} == pytest.approx(values, abs=1e-4, rel=1e-4)
    first = other["samples"][name][0]["filter"]
    samples = [sample for sample in other["samples"][name] if sample["filter"] == first]
    examples = {example.prompt[0]["content"]: example for example in one.generations}
    assert len(examples) == len(samples)
    return [(examples[sample["arguments"][0][0]], sample) for sample in samples]


def same_texts(pairs: list) -> list[str]:
    texts = [example.completions[0].text for example, _ in pairs]
    assert texts == [sample["resps"][0][0] for _, sample in pairs]
    return texts


def same_logprobs(pairs: list) -> None:
    for example, sample in pairs:
        logprobs = [resps[0][0] if isinstance(resps[0], tuple) else resps[0] for resps in sample["resps"]]
        assert example.completions[0].option_logprobs == pytest.approx(logprobs, abs=1e-4, rel=1e-7)


@pytest.mark.parametrize("chat", [True, False])
def test_completions_equal_those_of_lm_evals_model(engine, reference, rows, chat):
    path = rows(benchmark_rows("math500", 12, 3))
    task = LmEvalTask(name="short_math", tokenizer=STEPS, max_model_len=CONTEXT, chat=chat, rows=path)
    result = ours(engine, task)
    assert len(set(same_texts(agree(result, theirs(reference, task))))) > 4
    assert result.metric == {"short_math": "exact_match,none"}
    assert [example.lm_eval.score for example in result.generations] == [
        e.lm_eval.metrics["exact_match,none"] for e in result.generations
    ]


def test_completions_of_real_rows_equal_those_of_lm_evals_model(engine, reference, rows):
    path = rows([*real("math500.jsonl", 8), {"problem": "why ? " * 600, "solution": "\\boxed{1}", "answer": "1"}])
    task = LmEvalTask(name="short_math", tokenizer=STEPS, max_model_len=CONTEXT, chat=True, rows=path)
    result = ours(engine, task)
    same_texts(agree(result, theirs(reference, task)))
    assert result.truncated_prompts == 1


def test_completions_with_an_adapter_equal_those_of_lm_evals_model(engine, rows, tmp_path):
    import torch
    from lm_eval.models.huggingface import HFLM
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    folder = tmp_path / "train" / "random"
    get_peft_model(AutoModelForCausalLM.from_pretrained(STEPS), config).save_pretrained(folder)
    model = HFLM(pretrained=STEPS, peft=str(folder), dtype="float32", device="cpu", batch_size=8, max_length=CONTEXT)
    path = rows(benchmark_rows("math500", 4, 3))
    task = LmEvalTask(name="short_math", tokenizer=STEPS, max_model_len=CONTEXT, chat=True, rows=path)
    tuned = same_texts(agree(ours(engine, task, folder), theirs(model, task)))
    assert tuned != [example.completions[0].text for example in ours(engine, task).generations]


@pytest.mark.parametrize("chat", [True, False])
def test_log_probabilities_of_options_equal_those_of_lm_evals_model(engine, reference, rows, chat):
    questions = benchmark_rows("mmlu", 12, 3) + (real("mmlu_stem.jsonl", 6) if REAL else [])
    task = LmEvalTask(
        name="mmlu_abstract_algebra", tokenizer=STEPS, max_model_len=CONTEXT, chat=chat, rows=rows(questions)
    )
    result = ours(engine, task)
    same_logprobs(agree(result, theirs(reference, task)))
    assert {example.completions[0].text for example in result.generations} <= set("ABCD")
    assert result.metric == {"mmlu_abstract_algebra": "acc,none"}


def test_ifeval_metrics_equal_those_of_lm_evals_model(engine, reference, rows):
    path = rows(benchmark_rows("ifeval", 6, 3) + real("ifeval.jsonl", 4))
    task = LmEvalTask(name="short_ifeval", tokenizer=STEPS, max_model_len=CONTEXT, chat=True, rows=path)
    result = ours(engine, task)
    same_texts(agree(result, theirs(reference, task)))
    assert result.metric == {"short_ifeval": "prompt_level_strict_acc,none"}
    assert all("prompt_level_loose_acc,none" in example.lm_eval.metrics for example in result.generations)
    assert 0.5 < sum(example.lm_eval.score for example in result.generations) / len(result.generations) < 1


def test_samples_are_repeatable_by_seed(engine, rows):
    def sample(seed: int) -> dict[str, str]:
        task = LmEvalTask(name="sampled_math", tokenizer=STEPS, max_model_len=CONTEXT, chat=True, rows=path, seed=seed)
        return {example.id: example.completions[0].text for example in ours(engine, task).generations}

    path = rows(benchmark_rows("math500", 6, 3))
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_a_benchmarks_sampling_takes_the_place_of_the_tasks(engine, rows):
    path = rows(benchmark_rows("math500", 6, 3))
    sampling = TaskSampling(samples=4, temperature=2.0, max_tokens=9, thinking="empty")
    task = LmEvalTask(name="short_math", tokenizer=STEPS, max_model_len=CONTEXT, rows=path, sampling=sampling)
    result = ours(engine, task)
    for example in result.generations:
        assert len({completion.text for completion in example.completions}) > 1
        assert engine.tokenizer.decode(example.prefill_token_ids).startswith("<think>")
        assert {one.length - len(example.prefill_token_ids) for one in example.completions} <= set(range(1, 10))
    assert ours(engine, task) == result


# The tests below need no engine: these functions stand in for `generate` and `score`.


def generates(*texts: str, calls: list | None = None):
    """Generates these texts for each request."""

    def generate(requests, sampling_params):
        assert len(texts) == sampling_params.n
        for i, request in enumerate(requests):
            if calls is not None:
                calls.append((request, sampling_params))
            yield (
                i,
                RequestOutput(
                    prompt_token_ids=request.prompt,
                    completions=tuple(Completion(token_ids=(7,), text=text, truncated=True) for text in texts),
                ),
            )

    return generate


def scores(requests):
    for i, request in enumerate(requests):
        n = len(request.prefill)
        yield (
            i,
            TokenLogprobs(
                token_ids=request.prefill,
                logprobs=(-0.01 * request.prefill[-1],) * n,
                greedy=(False,) * n,
                answer_start=None,
            ),
        )


GSM8K = [{"question": f"{i} + {i} ?", "answer": f"It is {2 * i} #### {2 * i}"} for i in range(8)]


def test_the_first_filter_of_the_first_metric_is_the_score(rows):
    result = evaluate(
        LmEvalTask(name="gsm8k", tokenizer=STEPS, max_model_len=CONTEXT, rows=rows(GSM8K), shots=0),
        generates("#### 4, or 6"),
        scores,
    )
    assert result.metric == {"gsm8k": "exact_match,strict-match"}
    correct = [example for example in result.generations if example.lm_eval.score]
    assert [example.prompt[0]["content"] for example in correct] == [
        e.prompt[0]["content"] for e in result.generations if "2 + 2" in e.prompt[0]["content"]
    ]
    assert sum(example.lm_eval.metrics["exact_match,flexible-extract"] for example in result.generations) == 1
    assert result.results["gsm8k"]["exact_match,strict-match"] == 1 / 8
    assert result.versions["gsm8k"] == 3.0


def test_n_rows_are_the_first_in_the_drawn_order(rows):
    path = rows([*GSM8K, GSM8K[0]])
    some, every = (
        evaluate(
            LmEvalTask(name="gsm8k", tokenizer=STEPS, max_model_len=CONTEXT, rows=path, shots=0, n=n, seed=5),
            generates("#### 4"),
            scores,
        ).generations
        for n in (4, None)
    )
    assert [(e.id, e.prompt[0]["content"], e.lm_eval.score) for e in some] == [
        (e.id, e.prompt[0]["content"], e.lm_eval.score) for e in every[:4]
    ]
    assert len({example.id for example in every}) == 9
    assert [example.id for example in every] != sorted(example.id for example in every)


def test_sampling_settings_of_the_task_reach_the_engine(rows):
    calls: list = []
    evaluate(
        LmEvalTask(name="sampled_gsm8k", tokenizer=STEPS, max_model_len=64, rows=rows(GSM8K), shots=0, seed=3),
        generates("", calls=calls),
        scores,
    )
    assert [request.number for request, _ in calls] == list(range(8))
    (sampling_params,) = {sampling_params for _, sampling_params in calls}
    assert (sampling_params.temperature, sampling_params.top_p, sampling_params.max_tokens) == (0.7, 0.9, 30)
    assert (sampling_params.seed, sampling_params.stop) == (3, ("Q:", "<|user|>"))


def with_template(folder: Path, template: str) -> str:
    """The tokenizer of `steps` with another chat template, which begins with its own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    tokenizer.chat_template += template
    tokenizer.save_pretrained(folder)
    return str(folder)


def sampled(rows, sampling: TaskSampling, *texts: str, calls: list | None = None, **task) -> LmEvalResult:
    """GSM8K, or another task, where these texts are generated for each prompt."""
    settings = {"name": "gsm8k", "tokenizer": STEPS, "max_model_len": CONTEXT, "shots": 0, **task}
    return evaluate(LmEvalTask(**settings, rows=rows(GSM8K), sampling=sampling), generates(*texts, calls=calls), scores)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"temperature": 0.0}, (0.0, 1.0, 0, 0.0, 30)),
        ({"temperature": 0.5}, (0.5, 0.9, 0, 0.0, 30)),
        ({"temperature": 1.0, "top_p": 1.0, "top_k": 20, "min_p": 0.05, "max_tokens": 99}, (1.0, 1.0, 20, 0.05, 99)),
    ],
)
def test_given_sampling_takes_the_place_of_the_tasks(rows, given, used):
    calls: list = []
    sampled(rows, TaskSampling(**given), "", calls=calls, name="sampled_gsm8k")
    (params,) = {params for _, params in calls}
    assert (params.temperature, params.top_p, params.top_k, params.min_p, params.max_tokens) == used


def test_metrics_are_means_over_the_samples(rows):
    calls: list = []
    sampling = TaskSampling(samples=4, temperature=1.0)
    result = sampled(rows, sampling, "#### 4", "#### 4", "#### 6", "it is 4", calls=calls)
    assert [request.number for request, _ in calls] == list(range(8))  # All samples of a prompt are one request.
    assert {(params.n, params.temperature) for _, params in calls} == {(4, 1.0)}
    score = {e.prompt[0]["content"].partition("Question: ")[2][:5]: e.lm_eval.score for e in result.generations}
    assert (score["2 + 2"], score["3 + 3"], sum(score.values())) == (0.5, 0.25, 0.75)
    assert result.results["gsm8k"]["exact_match,strict-match"] == pytest.approx(0.75 / 8)
    assert result.results["gsm8k"]["exact_match,flexible-extract"] == pytest.approx(1 / 8)
    assert {tuple(one.text for one in e.completions) for e in result.generations} == {
        ("#### 4", "#### 4", "#### 6", "it is 4")
    }
    assert len(result.generations) == 8


def test_all_samples_are_of_one_prompt_also_with_few_shot_examples(tmp_path, monkeypatch, rows):
    from lm_eval.tasks import TaskManager

    (tmp_path / "drawn_shots.yaml").write_text(
        "task: drawn_shots\ndataset_path: json\ntest_split: test\nfewshot_split: test\nnum_fewshot: 2\n"
        'doc_to_text: "{{question}}"\ndoc_to_target: "{{answer}}"\nmetric_list: [{metric: exact_match}]\n'
    )
    manager = TaskManager(include_path=tmp_path, include_defaults=False)
    monkeypatch.setattr(index, "whole", lambda: manager)
    index.manager.cache_clear()
    drawn = {"name": "drawn_shots", "shots": 2}
    once = sampled(rows, TaskSampling(), "", **drawn)
    twice = sampled(rows, TaskSampling(samples=2, temperature=1.0), "", "", **drawn)
    assert len({one.prompt_token_ids for one in once.generations}) == 8
    assert [one.prompt_token_ids for one in once.generations] == [one.prompt_token_ids for one in twice.generations]


THOUGHT = "<think>\nQuestion: is it 9? #### 9\n</think>\n\n#### 4 Question: and 9? #### 9"


@pytest.mark.parametrize(
    ("thinking", "template", "stop"),
    [
        (None, "", ("Question:", "</s>", "<|im_end|>", "<|end|>")),
        ("on", "", ("<|end|>",)),
        ("off", "", ("Question:", "</s>", "<|im_end|>", "<|end|>")),
        # A template that knows of reasoning, with and without a switch for it.
        (None, "{# </think> #}", ("<|end|>",)),
        ("off", "{# </think> #}", ("<|end|>",)),
        ("off", "{# </think> enable_thinking #}", ("Question:", "</s>", "<|im_end|>", "<|end|>")),
        ("empty", "{# </think> #}", ("Question:", "</s>", "<|im_end|>", "<|end|>")),
    ],
)
def test_reasoning_is_not_graded_and_no_stop_string_ends_it(rows, tmp_path, monkeypatch, thinking, template, stop):
    from lm_eval.api.task import ConfigurableTask

    whole, calls = ConfigurableTask.construct_requests, []

    def with_end(self, doc, ctx, **how):  # the task of a model whose turns end with a special token
        request = whole(self, doc, ctx, **how)
        request.arguments[1]["until"].append("<|end|>")
        return request

    monkeypatch.setattr(ConfigurableTask, "construct_requests", with_end)
    folder = with_template(tmp_path / "tokenizer", template)
    result = sampled(rows, TaskSampling(thinking=thinking), THOUGHT, calls=calls, tokenizer=folder)
    assert {params.stop for _, params in calls} == {stop}
    assert sum(one.lm_eval.score for one in result.generations) == 1  # of 2 + 2
    assert sum(one.lm_eval.metrics["exact_match,flexible-extract"] for one in result.generations) == 1
    # Completions are stored whole. What the answer's stop string cuts off does not count as truncated.
    assert {(c.text, c.truncated) for one in result.generations for c in one.completions} == {(THOUGHT, False)}


def test_reasoning_that_does_not_end_has_no_answer(rows):
    result = sampled(rows, TaskSampling(), "<think> it may be #### 4")
    assert sum(one.lm_eval.score for one in result.generations) == 0
    assert {completion.truncated for one in result.generations for completion in one.completions} == {True}


@pytest.mark.parametrize(("thinking", "written"), [("on", "1"), ("off", "0"), (None, "2")])
def test_the_switch_of_the_chat_template_is_turned(rows, tmp_path, thinking, written):
    switch = "{% if enable_thinking is defined %}{{ enable_thinking | int }}{% else %}2{% endif %}"
    folder, calls = with_template(tmp_path / "tokenizer", switch), []
    sampled(rows, TaskSampling(thinking=thinking), "", calls=calls, tokenizer=folder)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert {tokenizer.decode(request.prompt)[-1] for request, _ in calls} == {written}


def test_reasoning_before_a_tasks_own_beginning_is_refused(tmp_path, monkeypatch, rows):
    from lm_eval.tasks import TaskManager

    (tmp_path / "begun.yaml").write_text(
        "task: begun\ndataset_path: json\ntest_split: test\ngen_prefix: It is\n"
        'doc_to_text: "{{question}}"\ndoc_to_target: "{{answer}}"\nmetric_list: [{metric: exact_match}]\n'
    )
    manager = TaskManager(include_path=tmp_path, include_defaults=False)
    monkeypatch.setattr(index, "whole", lambda: manager)
    index.manager.cache_clear()
    sampled(rows, TaskSampling(thinking="off"), "", name="begun")
    with pytest.raises(ValueError, match=r"begun begins each completion with a text of its own .* use thinking: off"):
        sampled(rows, TaskSampling(thinking="on"), "", name="begun")


@pytest.mark.parametrize("chat", [True, False])
def test_prompts_begin_with_exactly_one_bos_where_the_tokenizer_adds_one(rows, tmp_path, chat):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    bos, path = tokenizer.bos_token, rows(GSM8K)
    folders = {False: STEPS, True: str(tmp_path / "tokenizer")}
    begin = TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = begin
    tokenizer.save_pretrained(folders[True])
    for begins, folder in folders.items():
        task = LmEvalTask(name="gsm8k", tokenizer=folder, max_model_len=CONTEXT, chat=chat, rows=path, shots=0)
        for example in evaluate(task, generates(""), scores).generations:
            expected = 1 if chat or begins else 0
            assert example.prompt_token_ids.count(tokenizer.bos_token_id) == expected
            assert example.prompt_token_ids[:expected] == (tokenizer.bos_token_id,) * expected


def test_rows_of_a_group_are_drawn_from_all_its_tasks(tmp_path, monkeypatch, rows):
    from lm_eval.tasks import TaskManager

    path = rows([{"q": f"{i} ?", "a": str(i)} for i in range(6)])
    data = f"{{data_files: {{test: {path}}}, cache_dir: {tmp_path}}}"
    for name in ("first_of_two", "second_of_two"):
        (tmp_path / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ndataset_kwargs: {data}\ntest_split: test\n"
            'doc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\nmetric_list: [{metric: exact_match}]\n'
        )
    (tmp_path / "both_of_two.yaml").write_text(
        "group: both_of_two\ntask: [first_of_two, second_of_two]\n"
        "aggregate_metric_list: [{metric: exact_match, weight_by_size: true}]\n"
    )
    manager = TaskManager(include_path=tmp_path, include_defaults=False)
    monkeypatch.setattr(index, "whole", lambda: manager)
    index.manager.cache_clear()
    for n, tasks in ((None, 2), (5, 2), (1, 1)):
        result = evaluate(
            LmEvalTask(name="both_of_two", tokenizer=STEPS, max_model_len=CONTEXT, chat=False, n=n, seed=4),
            generates("3"),
            scores,
        )
        assert len(result.generations) == (n or 12)
        assert {example.lm_eval.task for example in result.generations} == set(result.metric)
        assert len(result.metric) == tasks
        mean = sum(example.lm_eval.score for example in result.generations) / len(result.generations)
        assert result.results["both_of_two"]["exact_match,none"] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("settings", "metric", "refused"),
    [
        ("output_type: loglikelihood\nmetric_list: [{metric: perplexity}, {metric: acc}]", "acc,none", None),
        (
            "output_type: loglikelihood\nmetric_list: [{metric: perplexity}]",
            None,
            "no metric .perplexity. has",
        ),
        (
            "process_results: !function lengths.of\nmetric_list: [{metric: length, aggregation: mean}]",
            None,
            "such as 5",
        ),
    ],
)
def test_a_score_must_be_from_0_to_1_for_each_example(tmp_path, monkeypatch, rows, settings, metric, refused):
    from lm_eval.tasks import TaskManager

    (tmp_path / "lengths.py").write_text("def of(doc, results): return {'length': len(results[0])}")
    fixed = 'task: other_metric\ndataset_path: json\ntest_split: test\ndoc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\n'
    (tmp_path / "other_metric.yaml").write_text(fixed + settings)
    manager = TaskManager(include_path=tmp_path, include_defaults=False)
    monkeypatch.setattr(index, "whole", lambda: manager)
    index.manager.cache_clear()
    task = LmEvalTask(
        name="other_metric",
        tokenizer=STEPS,
        max_model_len=CONTEXT,
        chat=False,
        rows=rows([{"q": "so", "a": "it is"}, {"q": "why", "a": "not"}]),
    )
    if refused is None:
        result = evaluate(task, generates("three"), scores)
        assert result.metric == {"other_metric": metric}
        assert [example.lm_eval.score for example in result.generations] == [0, 0]
    else:
        with pytest.raises(ValueError, match=f"lm_eval:other_metric: scores must be from 0 to 1 .* {refused}"):
            evaluate(task, generates("three"), scores)


def test_grading_that_needs_a_main_thread_works_from_any_thread(rows):
    # lm-eval limits the time of symbolic algebra by a signal; outside a main thread it grades every answer as wrong.
    row = {"problem": "1 / 2 ?", "solution": "$\\boxed{\\frac{1}{2}}$", "answer": "1/2", "level": "1", "type": "a"}
    text = "Final Answer: The final answer is $\\frac{2}{4}$. I hope it is correct."
    with ThreadPoolExecutor(1) as pool:
        task = LmEvalTask(name="minerva_math500", tokenizer=STEPS, max_model_len=2048, rows=rows([row]))
        assert [
            one.lm_eval.score for one in pool.submit(run_task, task, generates(text), scores).result().generations
        ] == [1.0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gsm8kk", "has no task .* nearest are .*gsm8k"),
        *((name, "runs code that the model writes") for name in ("humaneval", "mbpp_plus", "cruxeval_input")),
        ("humaneval_infilling", "humaneval_.* runs code that the model writes"),
        ("code2text_go", "needs beam search"),
        ("mmmu_val", "has images"),
        ("wikitext", "measures perplexity"),
    ],
)
def test_unsupported_tasks_are_refused(name, why):
    with pytest.raises(ValueError, match=why):
        check(name, TaskSampling())


def test_tasks_and_groups_are_found_without_loading_data():
    for name in ("gsm8k", "mmlu", "math_word_problems"):
        check(name, TaskSampling())


@pytest.mark.parametrize(
    ("name", "sampling", "why"),
    [
        ("mmlu", TaskSampling(max_tokens=9), "mmlu_.* compares log-probabilities .* so that max_tokens would have no"),
        (
            "mmlu_abstract_algebra",
            TaskSampling(thinking="off", samples=2, temperature=1.0),
            r"\(multiple_choice\), so that thinking, samples, temperature would .* mmlu_generative",
        ),
        (
            "gsm8k_cot_self_consistency",
            TaskSampling(samples=2, temperature=1.0),
            "samples 64 completions of each example itself",
        ),
    ],
)
def test_sampling_that_a_task_does_not_take_is_refused_before_its_data_are_loaded(name, sampling, why):
    with pytest.raises(ValueError, match=why):
        check(name, sampling)


def test_sampling_that_a_task_does_not_take_is_refused_when_it_is_loaded(rows):
    with pytest.raises(ValueError, match="lm_eval:mmlu_abstract_algebra compares log-probabilities"):
        evaluate(
            LmEvalTask(
                name="mmlu_abstract_algebra",
                tokenizer=STEPS,
                max_model_len=CONTEXT,
                rows=rows(benchmark_rows("mmlu", 2, 3)),
                sampling=TaskSampling(max_tokens=9),
            ),
            generates(""),
            scores,
        )


def test_the_tasks_that_messages_name_exist():
    check("mmlu_generative", TaskSampling(samples=2, temperature=1.0))


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"name": "gsm8k"}, "takes its 5 few-shot examples .* set shots to 0"),
        ({"name": "mmlu"}, "is a group"),
        ({"name": "gsm8k", "shots": 0, "max_model_len": 200}, "no room for a prompt"),
        ({"name": "beamed_gsm8k", "shots": 0}, "sets num_beams"),
        ({"name": "hendrycks_math500", "rows": []}, "no rows"),
        ({"name": "mmlu_abstract_algebra"}, "do not have"),
    ],
)
def test_impossible_settings_are_refused(rows, task, why):
    with pytest.raises(ValueError, match=why):
        evaluate(
            LmEvalTask(**{"tokenizer": STEPS, "max_model_len": CONTEXT, **task, "rows": rows(task.get("rows", GSM8K))}),
            generates(""),
            scores,
        )


def test_lm_eval_that_works_for_too_long_is_ended():
    def unused(*_):
        raise AssertionError

    task = LmEvalTask(name="gsm8k", tokenizer=STEPS, max_model_len=CONTEXT, chat=True)
    with pytest.raises(RuntimeError, match=r"lm_eval:gsm8k worked for 0\.01 s without a call"):
        run_task(task, unused, unused, limit=0.01)
