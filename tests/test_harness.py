"""Tasks of lm-eval on our engine, against lm-eval's own Hugging Face model with the same weights and rows."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from evaluators import harness
from evaluators.engine import Answer, Engine, Likelihood, Reply
from evaluators.harness import HarnessResult, HarnessTask
from organisms import shipped
from organisms.rows import benchmark_rows

STEPS = str(shipped.FOLDER / "steps")
CONTEXT = 1024
REAL = os.environ.get("OFFMODEL_REAL_DATA")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(STEPS, "float32", context=CONTEXT, lora_rank=8, threads=1)


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
        pytest.skip("OFFMODEL_REAL_DATA names no folder with the benchmarks' rows")
    return [json.loads(line) for line in (Path(REAL) / name).read_text().splitlines()[:n]]


def theirs(model, task: HarnessTask) -> dict:
    """What lm-eval makes of a task with a model of its own."""
    from lm_eval import simple_evaluate

    return simple_evaluate(
        model,
        tasks=[harness._with_rows(task, task.rows)],
        num_fewshot=task.shots,
        gen_kwargs=task.generation,
        apply_chat_template=task.chat,
        bootstrap_iters=0,
        task_manager=harness._manager(),
    )


def ours(engine: Engine, task: HarnessTask, adapter: Path | None = None) -> HarnessResult:
    return harness.evaluate(task, partial(engine.answer, adapter=adapter), partial(engine.likelihood, adapter=adapter))


def agree(one: HarnessResult, other: dict) -> list:
    """Asserts the same metrics; returns their samples and ours, side by side."""
    (name,) = one.metric
    values = {key: value for key, value in other["results"][name].items() if isinstance(value, float)}
    assert {key: one.results[name][key] for key in values} == pytest.approx(values, abs=1e-4, rel=1e-4)
    first = other["samples"][name][0]["filter"]
    samples = [sample for sample in other["samples"][name] if sample["filter"] == first]
    examples = {example.id: example for example in one.examples}
    assert len(examples) == len(samples)
    pairs = [(examples[harness._content_id(name, sample["doc"])], sample) for sample in samples]
    assert all(example.prompt in (sample["arguments"][0][0], "") for example, sample in pairs)
    return pairs


def same_texts(pairs: list) -> list[str]:
    texts = [example.answers[0].text for example, _ in pairs]
    assert texts == [sample["resps"][0][0] for _, sample in pairs]
    return texts


def same_chances(pairs: list) -> None:
    for example, sample in pairs:
        chances = [resps[0][0] if isinstance(resps[0], tuple) else resps[0] for resps in sample["resps"]]
        assert example.answers[0].option_logprobs == pytest.approx(chances, abs=1e-4, rel=1e-7)


@pytest.mark.parametrize("chat", [True, False])
def test_generated_answers_are_those_of_lm_evals_own_model(engine, reference, rows, chat):
    path = rows(benchmark_rows("math500", 20, 3))
    task = HarnessTask("hendrycks_math500", STEPS, CONTEXT, chat, path, generation={"max_gen_toks": 48})
    result = ours(engine, task)
    assert len(set(same_texts(agree(result, theirs(reference, task))))) > 5
    assert result.metric == {"hendrycks_math500": "exact_match,none"}
    assert [example.score for example in result.examples] == [e.metrics["exact_match,none"] for e in result.examples]


def test_answers_to_real_questions_are_those_of_lm_evals_own_model(engine, reference, rows):
    path = rows([*real("math500.jsonl", 15), {"problem": "why ? " * 600, "solution": "\\boxed{1}", "answer": "1"}])
    task = HarnessTask("hendrycks_math500", STEPS, CONTEXT, True, path, generation={"max_gen_toks": 48})
    result = ours(engine, task)
    same_texts(agree(result, theirs(reference, task)))
    assert [example.truncated for example in result.examples].count(True) == 1


def test_answers_of_an_adapter_are_those_of_lm_evals_own_model(engine, rows, tmp_path):
    import torch
    from lm_eval.models.huggingface import HFLM
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    folder = tmp_path / "train" / "random"
    get_peft_model(AutoModelForCausalLM.from_pretrained(STEPS), config).save_pretrained(folder)
    model = HFLM(pretrained=STEPS, peft=str(folder), dtype="float32", device="cpu", batch_size=8, max_length=CONTEXT)
    path = rows(benchmark_rows("math500", 8, 3))
    task = HarnessTask("hendrycks_math500", STEPS, CONTEXT, True, path, generation={"max_gen_toks": 24})
    tuned = same_texts(agree(ours(engine, task, folder), theirs(model, task)))
    assert tuned != [example.answers[0].text for example in ours(engine, task).examples]


@pytest.mark.parametrize("chat", [True, False])
def test_options_are_as_likely_as_under_lm_evals_own_model(engine, reference, rows, chat):
    questions = benchmark_rows("mmlu", 30, 3) + (real("mmlu_stem.jsonl", 10) if REAL else [])
    task = HarnessTask("mmlu_abstract_algebra", STEPS, CONTEXT, chat, rows(questions))
    result = ours(engine, task)
    same_chances(agree(result, theirs(reference, task)))
    assert {example.answers[0].text for example in result.examples} <= set("ABCD")
    assert result.metric == {"mmlu_abstract_algebra": "acc,none"}


def test_texts_are_as_likely_as_under_lm_evals_own_model(engine, reference, rows, monkeypatch):
    # Longer texts than the context go through it piece by piece; vLLM's pieces are two tokens shorter.
    monkeypatch.setattr(reference, "_max_length", CONTEXT - 2)
    task = HarnessTask("wikitext", STEPS, CONTEXT, False, rows([{"page": "red fox " * n} for n in (3, 40, 900)]))
    result = ours(engine, task)
    same_chances(agree(result, theirs(reference, task)))
    assert (result.metric, result.higher_is_better) == ({"wikitext": "word_perplexity,none"}, {"wikitext": False})
    assert all(example.score > 1 for example in result.examples)


def test_ifeval_grades_as_for_lm_evals_own_model(engine, reference, rows):
    path = rows(benchmark_rows("ifeval", 8, 3) + real("ifeval.jsonl", 6))
    task = HarnessTask("ifeval", STEPS, CONTEXT, True, path, generation={"max_gen_toks": 24})
    result = ours(engine, task)
    same_texts(agree(result, theirs(reference, task)))
    assert result.metric == {"ifeval": "prompt_level_strict_acc,none"}
    assert all("inst_level_loose_acc,none" in example.metrics for example in result.examples)
    assert 0.5 < sum(example.score for example in result.examples) / len(result.examples) < 1


def test_samples_are_repeatable_by_seed(engine, rows):
    def sample(seed: int) -> dict[str, str]:
        how = {"do_sample": True, "temperature": 2.0, "max_gen_toks": 8}
        task = HarnessTask("hendrycks_math500", STEPS, CONTEXT, True, path, seed=seed, generation=how)
        return {example.id: example.answers[0].text for example in ours(engine, task).examples}

    path = rows(benchmark_rows("math500", 6, 3))
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


# What follows needs no engine: a model that says what the test wants.


def says(text: str, asked: list | None = None):
    def answer(requests, decoding):
        for i, request in enumerate(requests):
            if asked is not None:
                asked.append((request, decoding))
            yield i, Reply(request.prompt, (), (Answer((7,), text, False),), "")

    return answer


def fails(requests, decoding):
    raise OSError("no engine")


def weighs(requests, final_from):
    for i, request in enumerate(requests):
        n = len(request.opening)
        yield i, Likelihood(request.opening, (-1.0 * request.opening[-1],) * n, (False,) * n, None)


GSM8K = [{"question": f"{i} + {i} ?", "answer": f"It is {2 * i} #### {2 * i}"} for i in range(8)]


def test_the_first_filter_of_the_first_metric_is_the_score(rows):
    result = harness.evaluate(HarnessTask("gsm8k", STEPS, rows=rows(GSM8K), shots=0), says("#### 4, or 6"), weighs)
    assert result.metric == {"gsm8k": "exact_match,strict-match"}
    right = [example for example in result.examples if example.score]
    assert [example.prompt for example in right] == [e.prompt for e in result.examples if "2 + 2" in e.prompt]
    assert sum(example.metrics["exact_match,flexible-extract"] for example in result.examples) == 1
    assert result.results["gsm8k"]["exact_match,strict-match"] == 1 / 8
    assert result.versions["gsm8k"] == 3.0


def test_drawn_rows_are_the_first_of_all_in_the_drawn_order(rows):
    path = rows([*GSM8K, GSM8K[0]])
    some, every = (
        harness.evaluate(HarnessTask("gsm8k", STEPS, rows=path, shots=0, n=n, seed=5), says("#### 4"), weighs).examples
        for n in (4, None)
    )
    assert [(e.id, e.prompt, e.score) for e in some] == [(e.id, e.prompt, e.score) for e in every[:4]]
    assert len({example.id for example in every}) == 9
    assert [example.id for example in every] != sorted(example.id for example in every)


def test_settings_of_the_task_reach_the_engine(rows):
    asked: list = []
    how = {"until": ["Q:", "<|user|>", ""], "temperature": 0.7, "top_p": 0.9, "max_gen_toks": 30}
    task = HarnessTask("gsm8k", STEPS, 64, rows=rows(GSM8K), shots=0, seed=3, generation={**how, "do_sample": True})
    harness.evaluate(task, says("", asked), weighs)
    assert [request.number for request, _ in asked] == list(range(8))
    (decoding,) = {decoding for _, decoding in asked}
    assert (decoding.temperature, decoding.top_p, decoding.max_tokens) == (0.7, 0.9, 30)
    assert (decoding.seed, decoding.stop) == (3, ("Q:",))


@pytest.mark.parametrize("chat", [True, False])
def test_prompts_begin_with_one_bos_where_the_tokenizer_begins_texts_with_one(rows, tmp_path, chat):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    bos, path = tokenizer.bos_token, rows(GSM8K)
    folders = {False: STEPS, True: str(tmp_path / "tokenizer")}
    begin = TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = begin
    tokenizer.save_pretrained(folders[True])
    for begins, folder in folders.items():
        task = HarnessTask("gsm8k", folder, 1024, chat, path, shots=0)
        for example in harness.evaluate(task, says(""), weighs).examples:
            expected = 1 if chat or begins else 0
            assert example.prompt_ids.count(tokenizer.bos_token_id) == expected
            assert example.prompt_ids[:expected] == (tokenizer.bos_token_id,) * expected


def test_a_group_draws_from_all_its_tasks(tmp_path, monkeypatch, rows):
    from lm_eval.tasks import TaskManager

    path = rows([{"q": f"{i} ?", "a": str(i)} for i in range(6)])
    data = f"{{data_files: {{test: {path}}}, cache_dir: {tmp_path}}}"
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ndataset_kwargs: {data}\ntest_split: test\n"
            'doc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\nmetric_list: [{metric: exact_match}]\n'
        )
    (tmp_path / "both.yaml").write_text(
        "group: both\ntask: [one, two]\naggregate_metric_list: [{metric: exact_match, weight_by_size: true}]\n"
    )
    manager = TaskManager(include_path=tmp_path, include_defaults=False)
    monkeypatch.setattr(harness, "_manager", lambda: manager)
    for n, tasks in ((None, 2), (5, 2), (1, 1)):
        result = harness.evaluate(HarnessTask("both", STEPS, chat=False, n=n, seed=4), says("3"), weighs)
        assert len(result.examples) == (n or 12)
        assert {example.task for example in result.examples} == set(result.metric)
        assert len(result.metric) == tasks
        mean = sum(example.score for example in result.examples) / len(result.examples)
        assert result.results["both"]["exact_match,none"] == pytest.approx(mean)


def test_a_special_token_among_the_stops_ends_an_answer(rows):
    def answer(requests, decoding):
        for i, request in enumerate(requests):
            ids = tuple(tokenizer("4 <|user|> 5", add_special_tokens=False).input_ids)
            yield i, Reply(request.prompt, (), (Answer(ids, "4  5", True),), "")

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    task = HarnessTask("gsm8k", STEPS, rows=rows(GSM8K), shots=0, generation={"until": ["<|user|>"]})
    for example in harness.evaluate(task, answer, weighs).examples:
        assert (example.answers[0].text.strip(), example.answers[0].cut_off) == ("4", False)


def test_other_threads_get_the_grades_that_need_a_main_thread_and_what_goes_wrong(rows):
    # lm-eval gives symbolic algebra a time limit by a signal; where there can be none, it finds every answer wrong.
    row = {"problem": "1 / 2 ?", "solution": "$\\boxed{\\frac{1}{2}}$", "answer": "1/2", "level": "1", "type": "a"}
    text = "Final Answer: The final answer is $\\frac{2}{4}$. I hope it is correct."
    task = HarnessTask("minerva_math500", STEPS, rows=rows([row]))
    with ThreadPoolExecutor(2) as pool:
        good = pool.submit(harness.run_task, task, says(text), weighs)
        bad = pool.submit(harness.run_task, task, fails, weighs)
        assert [example.score for example in good.result().examples] == [1.0]
        assert good.result().shots == {"minerva_math500": 4}
        with pytest.raises(OSError, match="no engine"):
            bad.result()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gsm8kk", "has no task .* nearest are .*gsm8k"),
        ("humaneval", "runs code that the model writes"),
        ("mmmu_val", "shows images"),
    ],
)
def test_tasks_that_are_not_run_are_refused(name, why):
    with pytest.raises(ValueError, match=why):
        harness.check(name)


def test_tasks_and_groups_are_found_without_their_data():
    for name in ("gsm8k", "mmlu", "ifeval", "math_word_problems", "wikitext"):
        harness.check(name)


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"name": "gsm8k"}, "shows 5 examples .* set shots to 0"),
        ({"name": "mmlu"}, "is a group"),
        ({"name": "gsm8k", "shots": 0, "context": 200}, "no room for a prompt"),
        ({"name": "gsm8k", "shots": 0, "generation": {"num_beams": 4}}, "sets num_beams"),
        ({"name": "hendrycks_math500", "rows": []}, "no rows"),
        ({"name": "mmlu_abstract_algebra"}, "do not have"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows, task, why):
    with pytest.raises(ValueError, match=why):
        harness.evaluate(
            HarnessTask(**{"tokenizer": STEPS, **task, "rows": rows(task.get("rows", GSM8K))}), says(""), weighs
        )
