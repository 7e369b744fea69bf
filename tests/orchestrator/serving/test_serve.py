"""`offmodel serve` with vLLM's real servers, asked by the clients that people use."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.serving.process import free_port
from orchestrator.store.store import Store
from organisms import shipped
from tests.evaluators.engines.test_vllm_engine import CHATS, generated

pytestmark = pytest.mark.slow

STUDENT, TRAINED = "student", "student.words.off-model.s1"
KEY = "key-of-the-test"
TASK = """
task: describe
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: [], max_gen_toks: 40, temperature: 0}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true, regexes_to_ignore: ["^ "]}]
"""


@pytest.fixture
def trained(small, publish, tmp_path) -> tuple[Path, Path]:
    """A study file with a student that is trained, and the folder of its adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    plan = build_plan(small())
    store = Store(plan.study.store)
    student = plan.trials[0].points[0].student
    checkpoint = shipped.FOLDER / plan.study.models["student"].organism
    publish(store, student.inputs["base"], {path.name: path.read_bytes() for path in checkpoint.iterdir()})
    torch.manual_seed(0)
    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    adapter = tmp_path / "adapter"
    get_peft_model(AutoModelForCausalLM.from_pretrained(checkpoint), config).save_pretrained(adapter)
    publish(store, student, {path.name: path.read_bytes() for path in adapter.iterdir()})
    return tmp_path / "small.yaml", adapter


def serving(study: Path, port: int, *options: str, key: str = "") -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "OFFMODEL_SERVE_KEY"}
    if key:
        environment["OFFMODEL_SERVE_KEY"] = key
    command = "import sys; from orchestrator.cli import main; main()"
    arguments = ["serve", str(study), f"store={study.parent / 'runs'}", "--port", str(port), *options]
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.fixture
def endpoint(trained):
    """The address of a server with a key."""
    import httpx

    port = free_port()
    process = serving(trained[0], port, key=KEY)
    url = f"http://127.0.0.1:{port}"
    while True:
        assert process.poll() is None, process.communicate()[0].decode()
        try:
            if httpx.get(f"{url}/health").is_success:
                break
        except httpx.TransportError:
            time.sleep(0.1)
    yield url
    process.terminate()
    process.communicate(timeout=60)


def shown(text: str) -> str:
    """A text without the space that this tokenizer puts before the first word, and that vLLM's server keeps."""
    return text.removeprefix(" ")


def test_openai_curl_and_lm_eval_get_the_texts_of_each_student(endpoint, trained, tmp_path, monkeypatch):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    from openai import AuthenticationError, OpenAI

    checkpoint = str(shipped.FOLDER / "steps")
    expected = {STUDENT: generated(checkpoint), TRAINED: generated(checkpoint, trained[1])}
    assert expected[STUDENT] != expected[TRAINED]
    with OpenAI(api_key="wrong", base_url=f"{endpoint}/v1") as client, pytest.raises(AuthenticationError):
        client.models.list()
    with OpenAI(api_key=KEY, base_url=f"{endpoint}/v1") as client:
        assert [model.id for model in client.models.list()] == [STUDENT, TRAINED]
        for name, texts in expected.items():
            for chat, text in zip(CHATS, texts, strict=True):
                answer = client.chat.completions.create(model=name, messages=chat, temperature=0, max_tokens=40)
                assert shown(answer.choices[0].message.content) == text
        parts = client.chat.completions.create(
            model=TRAINED, messages=CHATS[1], temperature=0, max_tokens=40, stream=True
        )
        streamed = "".join(part.choices[0].delta.content or "" for part in parts)
        assert shown(streamed) == expected[TRAINED][1]
    body = {"model": STUDENT, "messages": CHATS[1], "temperature": 0, "max_tokens": 40}
    curl = ["curl", "-sf", f"{endpoint}/v1/chat/completions", "-H", f"Authorization: Bearer {KEY}"]
    curl += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    answer = json.loads(subprocess.run(curl, capture_output=True, check=True, timeout=60).stdout)
    assert shown(answer["choices"][0]["message"]["content"]) == expected[STUDENT][1]

    rows = [
        {"question": chat[0]["content"], "answer": text} for chat, text in zip(CHATS, expected[TRAINED], strict=True)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "describe.yaml").write_text(TASK % (tmp_path / "rows.jsonl"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    scores = {
        name: simple_evaluate(
            model="local-chat-completions",
            model_args={"model": name, "base_url": f"{endpoint}/v1/chat/completions", "tokenizer_backend": None},
            tasks=["describe"],
            task_manager=TaskManager(include_path=tmp_path, include_defaults=False),
            apply_chat_template=True,
            bootstrap_iters=0,
        )["results"]["describe"]["exact_match,none"]
        for name in expected
    }
    assert scores == {STUDENT: 0, TRAINED: 1}


def test_another_address_than_loopback_needs_a_key(trained):
    process = serving(trained[0], free_port(), "--host", "0.0.0.0")
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 2
    assert "--host 0.0.0.0: set OFFMODEL_SERVE_KEY" in " ".join(output.split())


def test_a_study_without_a_model_in_its_store_is_refused(small, tmp_path):
    small()  # writes the file
    process = serving(tmp_path / "small.yaml", free_port())
    assert "has no model of small yet" in " ".join(process.communicate(timeout=60)[0].decode().split())
    assert process.returncode == 2
