"""The vLLM engine on organisms, against transformers with the same weights."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from transformers import AutoTokenizer

from evaluators.engines.chat_template import EMPTY_THINKING, encode
from evaluators.engines.requests import Request, RequestOutput, SamplingParams
from evaluators.engines.vllm_engine import Engine, EngineFailed
from organisms import shipped
from perf.ray_head import free_port
from tests.even_heads import write_with_even_heads
from tests.quantised import write_quantised

pytestmark = pytest.mark.slow

ROOT = str(Path(__file__).parents[3])
STEPS, WORDS = str(shipped.FOLDER / "steps"), str(shipped.FOLDER / "words")
CHATS = [
    [{"role": "user", "content": text}]
    for text in (
        "solve : start 3 , + 4 , * 2",
        "describe red fox",
        "which thing belongs to bam ? A fox B owl C cat D dog",
    )
]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(STEPS, "float32", max_model_len=128, lora_rank=8, threads=1)


def generated(checkpoint: str, adapter=None) -> list[str]:
    """Greedy completions by transformers and PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    texts = []
    for chat in CHATS:
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**ids, max_new_tokens=40, do_sample=False)
        texts.append(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def outputs_of(
    engine: Engine, requests: list[Request], sampling_params: SamplingParams, **options
) -> list[RequestOutput]:
    """The outputs in the order of the requests."""
    outputs = dict(engine.generate(requests, sampling_params, **options))
    return [outputs[i] for i in range(len(requests))]


def reference_logprobs(prompt, continuation, adapter=None) -> tuple[list[float], list[bool]]:
    """By transformers and PEFT: each token's log-probability, and whether it is the most likely token."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(STEPS, dtype="float32")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        logprobs = model(torch.tensor([[*prompt, *continuation]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    found = logprobs.gather(1, torch.tensor(continuation)[:, None])[:, 0]
    return found.tolist(), (found == logprobs.max(1).values).tolist()


REQUESTS = [Request(prompt=chat, number=i) for i, chat in enumerate(CHATS)]
GREEDY = SamplingParams(max_tokens=40)


def texts(engine: Engine, **options) -> list[str]:
    return [output.completions[0].text for output in outputs_of(engine, REQUESTS, GREEDY, **options)]


def test_completions_equal_those_of_transformers_also_after_a_change_of_weights(engine):
    # The output head is tied to the input embedding; vLLM's own reload would keep a packed copy of the old one.
    assert texts(engine) == generated(STEPS)
    engine.load(WORDS)
    assert texts(engine) == generated(WORDS)
    engine.load(STEPS)
    assert texts(engine) == generated(STEPS)


def test_the_output_has_the_prompt_token_ids(engine):
    (output,) = outputs_of(engine, REQUESTS[:1], GREEDY)
    assert list(output.prompt_token_ids) == encode(engine.tokenizer, CHATS[0])
    assert output.prompt_token_ids.count(engine.tokenizer.bos_token_id) == 1
    as_ids = outputs_of(engine, [Request(prompt=output.prompt_token_ids)], GREEDY)
    assert as_ids == [output]


def test_samples_are_repeatable_by_seed_and_differ_between_samples(engine):
    def sample(seed: int, requests: list[Request]) -> list[list[str]]:
        sampling_params = SamplingParams(max_tokens=12, temperature=2.0, n=4, seed=seed)
        return [
            [answer.text for answer in output.completions] for output in outputs_of(engine, requests, sampling_params)
        ]

    assert sample(1, REQUESTS) == sample(1, REQUESTS)
    assert sample(1, REQUESTS) != sample(2, REQUESTS)
    assert all(len(set(texts)) > 1 for texts in sample(1, REQUESTS))
    # A request's samples do not depend on its batch, so that an interrupted evaluation can resume.
    assert sample(1, REQUESTS[1:]) == sample(1, REQUESTS)[1:]


def test_a_completion_continues_its_prefill_and_includes_it(engine):
    prefill = outputs_of(engine, REQUESTS[:1], SamplingParams(max_tokens=3))[0].completions[0]
    for start in (prefill.token_ids, prefill.text):
        (output,) = outputs_of(engine, [Request(prompt=CHATS[0], prefill=start)], GREEDY)
        assert output.prefill_token_ids == prefill.token_ids
        assert output.completions[0].token_ids[:3] == prefill.token_ids
        assert output.completions[0].text == texts(engine)[0]


def test_an_empty_think_block_is_prefilled(engine):
    (output,) = outputs_of(engine, REQUESTS[:1], SamplingParams(max_tokens=2, thinking="empty"))
    assert output.completions[0].text.startswith(EMPTY_THINKING)
    assert list(output.prompt_token_ids) == encode(engine.tokenizer, CHATS[0])


def test_a_completion_that_reaches_max_tokens_is_truncated(engine):
    short, whole = (outputs_of(engine, REQUESTS[:1], SamplingParams(max_tokens=n))[0].completions[0] for n in (2, 40))
    assert (short.truncated, len(short.token_ids)) == (True, 2)
    assert not whole.truncated


def test_a_completion_ends_before_the_stop_string(engine):
    (output,) = outputs_of(engine, REQUESTS[:1], SamplingParams(max_tokens=40, stop=("=",)))
    assert output.completions[0].text.rstrip() == texts(engine)[0].partition("=")[0].rstrip()
    assert not output.completions[0].truncated


def test_a_stop_string_within_the_prefill_does_not_end_a_completion(engine):
    sampling_params = SamplingParams(max_tokens=40, thinking="empty", stop=("think", "="))
    (output,) = outputs_of(engine, REQUESTS[:1], sampling_params)
    (unstopped,) = outputs_of(engine, REQUESTS[:1], replace(sampling_params, stop=()))
    whole = unstopped.completions[0].text.removeprefix(EMPTY_THINKING)
    assert output.completions[0].text.rstrip() == EMPTY_THINKING + whole.partition("=")[0].rstrip()


@pytest.mark.parametrize("only", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}])
def test_sampling_only_the_most_likely_token_is_greedy(engine, only):
    hot = SamplingParams(max_tokens=12, temperature=2.0, n=8, seed=1)
    greedy = [output.completions[0].text for output in outputs_of(engine, REQUESTS, replace(GREEDY, max_tokens=12))]
    found = outputs_of(engine, REQUESTS, replace(hot, **only))
    assert [[one.text for one in output.completions] for output in found] == [[text] * 8 for text in greedy]
    assert all(len(set(output.completions)) > 1 for output in outputs_of(engine, REQUESTS, hot))


def test_top_k_and_min_p_bound_the_tokens_that_are_sampled(engine):
    def first_tokens(**cut) -> set[tuple[int, ...]]:
        hot = SamplingParams(max_tokens=1, temperature=2.0, n=256, seed=1, **cut)
        (output,) = found = outputs_of(engine, REQUESTS[2:], hot)
        assert found == outputs_of(engine, REQUESTS[2:], hot)
        return {one.token_ids for one in output.completions}

    assert len(first_tokens()) > 4
    assert len(first_tokens(top_k=2)) == 2
    assert first_tokens(top_k=2) < first_tokens(top_k=4) < first_tokens()
    assert first_tokens(min_p=0.5) < first_tokens()


def test_the_most_likely_option_is_that_of_transformers(engine):
    import torch
    from transformers import AutoModelForCausalLM

    options = ("A", "B", "C", "D")
    model = AutoModelForCausalLM.from_pretrained(STEPS, dtype="float32")
    for output in outputs_of(engine, REQUESTS, SamplingParams(max_tokens=1, options=options)):
        with torch.no_grad():
            logprobs = model(torch.tensor([output.prompt_token_ids])).logits[0, -1].log_softmax(-1)
        expected = [logprobs[engine.tokenizer.convert_tokens_to_ids(f"▁{option}")].item() for option in options]
        (answer,) = output.completions
        assert answer.option_logprobs == pytest.approx(expected, abs=1e-4)
        assert answer.text == options[expected.index(max(expected))]
        assert not answer.truncated


def test_an_option_of_several_tokens_is_refused(engine):
    with pytest.raises(ValueError, match="'unheard' is"):
        outputs_of(engine, REQUESTS, SamplingParams(max_tokens=1, options=("A", "unheard")))


def test_logprobs_equal_those_of_transformers(engine):
    text = "let us compute . 3 + 4 = 7 ; 7 * 2 = 5 . the answer is \\boxed{ 5 }"
    at = text.index("\\boxed")
    requests = [
        Request(prompt=CHATS[0], prefill=text, answer_start=at),
        Request(prompt=CHATS[1], prefill="first take red fox"),
    ]
    found = dict(engine.score(requests))
    for i, request in enumerate(requests):
        expected, greedy = reference_logprobs(encode(engine.tokenizer, request.prompt), found[i].token_ids)
        assert found[i].logprobs == pytest.approx(expected, abs=1e-3)
        assert list(found[i].greedy) == greedy
        assert engine.tokenizer.decode(found[i].token_ids) == request.prefill
    assert engine.tokenizer.decode(found[0].token_ids[found[0].answer_start :]) == text[at:]
    assert found[1].answer_start is None


def test_a_prefill_beyond_the_context_is_scored_up_to_it(engine):
    (output,) = outputs_of(engine, REQUESTS[1:2], SamplingParams(max_tokens=500, temperature=2.0, seed=1))
    room = engine.max_model_len - len(output.prompt_token_ids)
    prefill = (output.completions[0].token_ids * room)[:room]  # as long as a completion can be
    ((_, found),) = engine.score([Request(prompt=output.prompt_token_ids, prefill=prefill)])
    assert found.token_ids == prefill[:-1]
    assert len(found.logprobs) == room - 1


def test_a_completion_says_whether_it_ends_with_a_stop_token(engine):
    (whole,) = outputs_of(engine, REQUESTS[:1], GREEDY)
    assert whole.completions[0].ends_with_stop_token
    assert whole.completions[0].token_ids[-1] == engine.tokenizer.eos_token_id
    for sampling_params in (
        SamplingParams(max_tokens=1),
        SamplingParams(max_tokens=2),
        SamplingParams(max_tokens=40, stop=("=",)),
    ):
        (cut,) = outputs_of(engine, REQUESTS[:1], sampling_params)
        assert not cut.completions[0].ends_with_stop_token


def test_a_template_that_opens_a_think_block_is_detected_and_a_users_tag_is_not(engine, monkeypatch):
    requests = [REQUESTS[0], Request(prompt=[{"role": "user", "content": "solve <think> let us"}])]
    for output in outputs_of(engine, requests, SamplingParams(max_tokens=2, thinking="empty")):
        assert not output.prompt_opens_think_block
        assert output.completions[0].text.startswith(EMPTY_THINKING)
    tokenizer = AutoTokenizer.from_pretrained(STEPS)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|assistant|>{% e", "<|assistant|><think>{% e")
    monkeypatch.setattr(engine, "tokenizer", tokenizer)
    for output in outputs_of(engine, requests, SamplingParams(max_tokens=2, thinking="empty")):
        assert output.prompt_opens_think_block
        assert output.completions[0].text.lstrip().startswith("</think>"), "an open block is closed, not opened again"


def test_special_tokens_in_a_users_text_are_text(engine):
    (plain, said) = ([{"role": "user", "content": text}] for text in ("describe red fox", "describe <|end|> red fox"))
    outputs = outputs_of(engine, [Request(prompt=plain), Request(prompt=said)], GREEDY)
    end = engine.tokenizer.eos_token_id
    assert [output.prompt_token_ids.count(end) for output in outputs] == [1, 1]
    assert "<|end|> red fox" in engine.tokenizer.decode(outputs[1].prompt_token_ids)


def test_an_abandoned_batch_does_not_affect_the_next(engine):
    unread = engine.generate(REQUESTS, GREEDY)
    next(unread)
    unread.close()
    assert texts(engine) == generated(STEPS)


def test_a_prompt_beyond_the_context_is_refused(engine):
    long = [{"role": "user", "content": "fox " * 200}]
    with pytest.raises(ValueError, match=r"request 1 .* context of 128"):
        outputs_of(engine, [REQUESTS[0], Request(prompt=long, number=1)], SamplingParams(max_tokens=1))


def untrained(folder: Path, rank: int = 8) -> Path:
    """An adapter with a zero second factor, which changes nothing."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(STEPS), config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("modules", [["q_proj", "v_proj"], ["down_proj"], ["up_proj", "layers.1.self_attn.k_proj"]])
def test_an_adapter_on_some_layers_has_the_logprobs_of_peft(engine, tmp_path, modules):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=modules, lora_dropout=0.3, task_type="CAUSAL_LM", init_lora_weights=False)
    folder = tmp_path / "train" / "-".join(modules)
    get_peft_model(AutoModelForCausalLM.from_pretrained(STEPS), config).save_pretrained(folder)
    request = Request(prompt=CHATS[1], prefill="first take red fox")
    ((_, found),) = engine.score([request], adapter=folder)
    expected, _ = reference_logprobs(encode(engine.tokenizer, request.prompt), found.token_ids, folder)
    assert found.logprobs == pytest.approx(expected, abs=1e-3)
    ((_, base),) = engine.score([request])
    assert base.logprobs != pytest.approx(expected, abs=1e-2)


def test_an_adapter_without_effect_is_refused_each_time(engine, tmp_path):
    folder = untrained(tmp_path / "train" / "untrained")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="same output with adapter"):
            outputs_of(engine, REQUESTS, SamplingParams(max_tokens=1), adapter=folder)


def test_an_adapter_without_effect_is_allowed_without_must_differ(engine, tmp_path):
    # Training can produce one, where the first step has no gradient.
    engine.load(STEPS)
    assert texts(engine, adapter=untrained(tmp_path / "train" / "temporary"), must_differ=False) == texts(engine)


def test_an_adapter_of_a_larger_rank_than_the_engine_was_started_for_is_refused(engine, tmp_path):
    folder = untrained(tmp_path / "large" / "one", rank=16)
    with pytest.raises(ValueError, match=r"adapter large has rank 16, .* for 8: start it with lora_rank=16"):
        outputs_of(engine, REQUESTS, GREEDY, adapter=folder, must_differ=False)


def random_adapter(folder: Path, seed: int) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(STEPS), config).save_pretrained(folder)
    return folder


def test_batches_that_share_steps_have_the_results_that_they_have_alone(engine, tmp_path):
    engine.load(STEPS)
    adapters = [None, *(random_adapter(tmp_path / "train" / f"shared-{seed}", seed) for seed in (1, 2))]
    hot = SamplingParams(max_tokens=12, temperature=1.0, n=3, seed=4)
    scored = [Request(prompt=CHATS[1], prefill="first take red fox")]
    calls = [
        call
        for adapter in adapters
        for call in (
            (engine.begin_generate, engine.generate, REQUESTS, GREEDY, adapter),
            (engine.begin_generate, engine.generate, REQUESTS[:2], hot, adapter),
            (engine.begin_score, engine.score, scored, adapter),
        )
    ]
    found = {begin(*arguments): {} for begin, _, *arguments in calls}
    seen_together = 0
    while not all(batch.done for batch in found):
        seen_together = max(seen_together, sum(not batch.done for batch in found))
        for batch, i, result in engine.step():
            found[batch][i] = result
    assert seen_together == len(calls) == 9
    for results, (_, alone, *arguments) in zip(found.values(), calls, strict=True):
        expected = dict(alone(*arguments))
        if alone == engine.score:
            assert results[0].logprobs == pytest.approx(expected[0].logprobs, abs=1e-4)
        else:
            assert results == expected


def test_an_aborted_batch_leaves_the_others_as_they_are(engine):
    kept, dropped = (engine.begin_generate(REQUESTS, GREEDY) for _ in range(2))
    found = {i: result.completions[0].text for _, i, result in engine.step()}
    engine.abort(dropped)
    assert dropped.done
    while not kept.done:
        found |= {i: result.completions[0].text for batch, i, result in engine.step() if batch is kept}
    assert [found[i] for i in range(len(REQUESTS))] == generated(STEPS)
    assert engine.idle


def test_base_weights_change_only_while_the_engine_is_idle(engine):
    batch = engine.begin_generate(REQUESTS, GREEDY)
    with pytest.raises(AssertionError, match="running requests"):
        engine.load(WORDS)
    engine.abort(batch)
    engine.load(WORDS)
    engine.load(STEPS)


def test_an_adapter_without_effect_fails_its_own_batch_only(engine, tmp_path):
    folder = untrained(tmp_path / "train" / "nothing")
    refused, other = engine.begin_generate(REQUESTS, GREEDY, folder), engine.begin_generate(REQUESTS, GREEDY)
    found = {}
    while not (refused.done and other.done):
        found |= {(batch, i): result.completions[0].text for batch, i, result in engine.step()}
    assert "same output with adapter train/nothing" in str(refused.error)
    assert other.error is None
    assert [found.pop((other, i)) for i in range(len(REQUESTS))] == generated(STEPS)
    assert not found


def test_an_adapter_is_not_confused_with_an_earlier_one_after_a_change_of_weights(engine, tmp_path):
    folders = [random_adapter(tmp_path / "train" / f"random-{seed}", seed) for seed in (1, 2)]
    first, second = (generated(STEPS, folder) for folder in folders)
    assert first != second
    assert texts(engine, adapter=folders[0]) == first
    prompt, continuation = encode(engine.tokenizer, CHATS[1]), (290, 300, 310)
    ((_, found),) = engine.score([Request(prompt=tuple(prompt), prefill=continuation)], adapter=folders[0])
    assert found.logprobs == pytest.approx(reference_logprobs(prompt, continuation, folders[0])[0], abs=1e-3)
    engine.load(WORDS)
    engine.load(STEPS)
    assert texts(engine, adapter=folders[1]) == second
    assert texts(engine, adapter=folders[0]) == first


def test_an_engine_that_failed_takes_no_more_batches(tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(WORDS, damaged)
    file = damaged / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])
    broken = Engine(STEPS, "float32", max_model_len=128, threads=1)
    with pytest.raises(EngineFailed, match="Safetensor"):
        broken.load(str(damaged))
    with pytest.raises(EngineFailed, match="Safetensor"):
        broken.load(STEPS)
    with pytest.raises(EngineFailed, match="Safetensor"):
        texts(broken)


def test_weights_that_vllm_refuses_are_loaded_again(monkeypatch):
    own = Engine(STEPS, "float32", max_model_len=128, threads=1)

    def refused(*_, **__):
        raise ValueError("another shape")

    with monkeypatch.context() as patch:
        patch.setattr(own._llm, "collective_rpc", refused)
        with pytest.raises(ValueError, match="another shape"):
            own.load(WORDS)
    own.load(STEPS)
    assert texts(own) == generated(STEPS)


def test_an_engine_that_failed_in_a_step_takes_no_more_batches(monkeypatch):
    own = Engine(STEPS, "float32", max_model_len=128, threads=1)

    def failing():
        raise MemoryError("in a step")

    with monkeypatch.context() as patch:
        patch.setattr(own._llm.llm_engine, "step", failing)
        with pytest.raises(EngineFailed, match="MemoryError: in a step"):
            texts(own)
    with pytest.raises(EngineFailed, match="MemoryError: in a step"):
        texts(own)


PROCESSES = """
import json
import sys
from pathlib import Path

from evaluators.engines.requests import Request, SamplingParams
from evaluators.engines.split import Split
from evaluators.engines.vllm_engine import Engine

if __name__ == "__main__":
    (first, second, adapter), chats, split = map(json.loads, sys.argv[1:])
    engine = Engine(first, "float32", max_model_len=128, lora_rank=8, threads=1, split=Split(**split))
    requests = [Request(prompt=chat) for chat in chats]
    for checkpoint, folder in ((first, None), (first, Path(adapter)), (second, None)):
        engine.load(checkpoint)
        for i, output in engine.generate(requests, SamplingParams(max_tokens=30), folder):
            text = output.completions[0].text
            print("OUTPUT", json.dumps([checkpoint, folder is None, i, text]), flush=True)
"""


PART = """
import sys

from evaluators.engines.split import Split, hold_a_part, settings_of_vllm

if __name__ == "__main__":
    split = Split(tensor_parallel=2, nodes=2, rank=1, port=int(sys.argv[2]))
    hold_a_part(settings_of_vllm(sys.argv[1], "float32", 128, 8, 1, split, 0))
"""


@pytest.fixture(scope="module")
def with_even_heads(tmp_path_factory) -> list[str]:
    """Two checkpoints that two processes can share, and an adapter."""
    folders = [tmp_path_factory.mktemp("even") for _ in range(2)]
    folders.append(tmp_path_factory.mktemp("train") / "one")
    write_with_even_heads(*folders)
    return [str(folder) for folder in folders]


def texts_by_processes(folders: list[str], **split: int) -> list[list]:
    arguments = [json.dumps(one) for one in (folders, CHATS, split)]
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": ROOT},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return sorted(json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("OUTPUT "))


@pytest.fixture(scope="module")
def texts_of_one_process(with_even_heads) -> list[list]:
    found = texts_by_processes(with_even_heads)
    assert len({text for *_, text in found}) == len(found) == 3 * len(CHATS)
    return found


def test_two_processes_that_share_each_layer_have_the_texts_of_one(with_even_heads, texts_of_one_process):
    assert texts_by_processes(with_even_heads, tensor_parallel=2) == texts_of_one_process


def test_two_machines_that_hold_a_part_each_have_the_texts_of_one(with_even_heads, texts_of_one_process):
    port = free_port()
    part = [sys.executable, "-c", PART, with_even_heads[0], str(port)]
    with subprocess.Popen(part, env=os.environ | {"PYTHONPATH": ROOT, "VLLM_HOST_IP": "127.0.0.1"}) as other:
        assert texts_by_processes(with_even_heads, tensor_parallel=2, nodes=2, port=port) == texts_of_one_process
        workers = psutil.Process(other.pid).children()
        assert workers
        other.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []


def test_quantised_weights_are_served_as_they_are(engine, tmp_path):
    quantised = Engine(str(write_quantised(tmp_path / "quantised")), "float32", max_model_len=128, threads=1)
    assert quantised.settings["quantization"] == "compressed-tensors"
    engine.load(STEPS)
    requests = [Request(prompt=[{"role": "user", "content": f"solve : start {i} , + 4 , * 2"}]) for i in range(1, 9)]
    scores = []
    for one in (engine, quantised):
        prefill = "let us compute . 3 + 4 = 7"
        scored = dict(one.score([replace(request, prefill=prefill) for request in requests]))
        scores.append([logprob for i in sorted(scored) for logprob in scored[i].logprobs])
    difference = max(abs(first - second) for first, second in zip(*scores, strict=True))
    assert 0 < difference < 0.5  # nats; eight bits are close to the original, and not equal to it
