"""The checks before any work starts: each mistake is found, and its message says what to change."""

import http.server
import json
import shutil
import socket
import sys
import threading
from functools import partial

import pytest
from huggingface_hub import hf_api

from evaluators.benchmarks import mmlu
from orchestrator.plan.build import build_plan
from orchestrator.plan.workload import cost_of
from orchestrator.run.preflight import check
from orchestrator.stages import data
from orchestrator.store.store import Store
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError
from organisms import shipped
from organisms.rows import benchmark_rows
from tests.gguf_file import write_gguf

GRPO = ["train.objective={kind: grpo, num_generations: 3}", "recoveries={}"]
PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 6, prompt: '{problem}', max_tokens: 8}"


def preflight(study: Study) -> list[str]:
    """What the command `run` does before anything else; returns its notes."""
    plan, store = build_plan(study), Store(study.store)
    return check(plan, store, store.records(plan.stages))


def refused(study: Study) -> str:
    with pytest.raises(StudyError) as raised:
        preflight(study)
    return str(raised.value)


@pytest.fixture
def write(tmp_path):
    """Writes rows into a JSONL file, and returns its path."""

    def act(name: str, rows: list[dict]) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return act


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A copy of the shipped toy models that a test may damage."""
    folder = tmp_path / "weights"
    shutil.copytree(shipped.FOLDER, folder)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    shipped.verify.cache_clear()
    yield folder
    shipped.verify.cache_clear()


def test_a_sound_study_passes(small, tmp_path):
    preflight(small())
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


def test_a_budget_above_the_samples(small):
    message = refused(small("recoveries.own.budgets=[4, 21]"))
    assert "recoveries.own.budgets: 21 samples" in message
    assert "lower the budget, or raise prompts.n" in message
    preflight(small("recoveries.own.budgets=[4, 20]"))


def test_prompts_without_the_column(small, write):
    path = write("prompts", [{"instruction": "x"}, {"text": "y", "more": 1}])
    message = refused(small(f"prompts.source={path}", "prompts.n=2", "recoveries={}"))
    assert f'{path}, row 2: the column "instruction" is missing; it has more, text' in message
    preflight(
        small(
            f"prompts.source={write('other', [{'text': 'x'}])}", "prompts.column=text", "prompts.n=1", "recoveries={}"
        )
    )


def test_an_empty_prompt_file(small, write):
    path = write("prompts", [])
    assert f"{path}: no rows" in refused(small(f"prompts.source={path}", "prompts.n=null"))


def test_fewer_prompts_than_asked_for(small, write):
    path = write("prompts", [{"instruction": "x"}] * 3)
    message = refused(small(f"prompts.source={path}", "prompts.n=4"))
    assert f"prompts.n: 4 prompts are asked for, but {path} has 3" in message


def test_a_prompt_that_is_not_text(small, write):
    path = write("prompts", [{"instruction": None}])
    assert "instruction" in refused(small(f"prompts.source={path}", "prompts.n=1", "recoveries={}"))


def test_organism_prompts_without_a_number(small):
    assert "prompts.n: say how many" in refused(small("prompts.n=null"))


def test_a_prompt_file_that_is_not_json(small, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"instruction": "x"}\nplain text\n')
    assert f"{path}, line 2: not JSON" in refused(small(f"prompts.source={path}", "prompts.n=null"))


def test_a_training_prompt_longer_than_the_context(small, write):
    path = write("prompts", [{"instruction": "fox"}, {"instruction": "fox " * 100}, {"instruction": "owl"}])
    overrides = [f"prompts.source={path}", "prompts.n=null", "recoveries={}"]
    message = refused(small(*overrides, "max_model_len=100"))
    assert "prompts, row " in message
    assert "tokens for models.student, whose max_model_len is 100" in message
    assert "raise max_model_len, or leave the row out" in message
    preflight(small(*overrides, "max_model_len=120"))


def test_a_benchmark_prompt_longer_than_the_context(small):
    message = refused(small("max_model_len=30", f"benchmarks.facts.prompt='{{question}} {'fox ' * 30}'"))
    assert "facts, row 1: " in message
    assert "raise max_model_len" in message


def test_a_context_beyond_the_models_own(small):
    message = refused(small("max_model_len=4096"))
    assert "max_model_len: 4096 is more than the 2048 tokens of models.student" in message


def test_a_store_that_cannot_be_written(small, tmp_path):
    (tmp_path / "file").write_text("")
    study = small(f"store={tmp_path}/file/runs")
    with pytest.raises(StudyError, match=r"file/runs' cannot be written.*store=URI"):
        check(build_plan(study), Store(study.store), {})


def test_a_store_that_cannot_be_a_folder_is_refused_before_it_is_read(small, tmp_path):
    (tmp_path / "file").write_text("")
    assert "store=URI" in refused(small(f"store={tmp_path}/file/runs"))


def test_a_tracking_server_that_does_not_answer(small):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    message = refused(small(f"tracking.uri=http://127.0.0.1:{port}"))
    assert f"tracking.uri: the MLflow server at http://127.0.0.1:{port} does not answer" in message
    assert "leave tracking.uri out" in message


@pytest.mark.parametrize("healthy", [True, False])
def test_a_tracking_server_is_asked_for_its_health(small, tmp_path, healthy):
    if healthy:
        (tmp_path / "health").write_text("OK")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        study = small(f"tracking.uri=http://127.0.0.1:{server.server_port}/")
        if healthy:
            preflight(study)
        else:
            assert "tracking.uri: " in refused(study)
        server.shutdown()


@pytest.fixture
def hub(monkeypatch):
    """A hub with a model; returns its answers by path, each a status, an error code and a body, for more of them."""
    answers: dict[str, tuple[int, str, dict]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, error, body = answers.get(self.path.partition("?")[0], (404, "RepoNotFound", {}))
            self.send_response(status)
            self.send_header("X-Error-Code", error)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setattr(hf_api.api, "endpoint", f"http://127.0.0.1:{server.server_port}")
        yield answers
        server.shutdown()


def test_models_are_looked_up_on_the_hub(small, hub):
    study = small("models.words=org/words")
    info, access = "/api/models/org/words/revision/main", "/api/models/org/words/auth-check"
    assert "models.words: org/words is not on the hub, or is private: check the id" in refused(study)
    hub[info] = (404, "RevisionNotFound", {})
    assert "models.words: org/words has no revision main: give a branch, tag or commit" in refused(study)
    hub[info] = (200, "", {"id": "org/words", "siblings": [{"rfilename": "pytorch_model.bin"}]})
    hub[access] = (403, "GatedRepo", {})
    assert "models.words: org/words is gated: accept its terms on its page of the hub" in refused(study)
    hub[access] = (200, "", {})
    assert "models.words: org/words has no weights in safetensors" in refused(study)
    hub[info] = (200, "", {"id": "org/words", "siblings": [{"rfilename": "model.safetensors"}]})
    preflight(study)


def test_a_hub_that_cannot_be_reached_is_left_to_the_stages(small, hub, monkeypatch):
    study = small("models.words=org/words")
    monkeypatch.setattr(hf_api.api, "endpoint", "http://127.0.0.1:9")
    preflight(study)


def test_an_organism_whose_weights_were_changed(small, weights):
    path = weights / "words" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message = refused(small())
    assert f"organism words: the checksum of {path} differs from the shipped one" in message
    assert "install offmodel again, or set rebuild: true" in message


def test_an_organism_with_a_missing_file(small, weights):
    (weights / "terse" / "config.json").unlink()
    message = refused(small())
    assert f"organism terse: {weights / 'terse' / 'config.json'} is missing; install offmodel again" in message


def test_a_model_folder_without_safetensors(small, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(shipped.FOLDER / "steps", folder)
    preflight(small(f"models.student={folder}"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert f"models.student: {folder} has no weights in safetensors" in refused(small(f"models.student={folder}"))


def test_quantised_weights_are_served_and_not_trained(small, tmp_path, hub):
    folder = tmp_path / "checkpoint"
    shutil.copytree(shipped.FOLDER / "steps", folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(config))
    message = refused(small(f"models.student={folder}"))
    assert message.startswith("models.student: its weights are quantised (fp8), so it can be a teacher")
    preflight(small(f"models.words={folder}"))
    compared = small(f"models.terse={folder}", "train.objective=on_policy_distillation", "recoveries={}")
    assert "models.terse: its weights are quantised" in refused(compared)
    siblings = [{"rfilename": "model.safetensors"}]
    on_the_hub = {"id": "org/student", "siblings": siblings, "config": {"quantization_config": {"quant_method": "awq"}}}
    hub["/api/models/org/student/revision/main"] = (200, "", on_the_hub)
    hub["/api/models/org/student/auth-check"] = (200, "", {})
    assert "models.student: its weights are quantised (awq)" in refused(small("models.student=org/student"))


def test_a_model_folder_without_a_tokenizer(small, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(shipped.FOLDER / "steps", folder)
    (folder / "tokenizer.json").unlink()
    assert "models.student" in refused(small(f"models.student={folder}"))


def test_a_model_folder_without_a_chat_template(small, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(shipped.FOLDER / "steps", folder)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    assert f"models.student: {folder} has no chat template" in refused(small(f"models.student={folder}"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    preflight(small(f"models.student={folder}"))


def test_a_gguf_file_is_checked_as_a_model_folder_is(small, tmp_path):
    file = write_gguf(tmp_path / "toy.gguf")
    preflight(small(f"models.student={file}"))
    message = refused(small(f"models.student={file}", "max_model_len=4096"))
    assert "max_model_len: 4096 is more than the 2048 tokens of models.student" in message
    message = refused(small(f"models.student={file}", "max_model_len=40"))
    assert "tokens for models.student, whose max_model_len is 40" in message
    message = refused(small(f"models.student={file}", "train.objective=on_policy_distillation", "recoveries={}"))
    assert "pairs: student and words have different tokenizers" in message


def test_a_gguf_file_without_a_chat_template(small, tmp_path):
    file = write_gguf(tmp_path / "toy.gguf", template=None)
    message = refused(small(f"models.student={file}"))
    assert f"models.student: {file} has no chat template" in message
    assert "use the file of its instruction-tuned variant" in message


def test_a_gguf_file_that_would_be_converted_wrongly(small, tmp_path):
    file = write_gguf(tmp_path / "toy.gguf", pre="unheard")
    assert f"models.student: {file}: its pre-tokenizer unheard is not known" in refused(small(f"models.student={file}"))


def test_a_gguf_file_without_the_package_that_converts_it(small, tmp_path, monkeypatch, publish):
    study = small(f"models.student={write_gguf(tmp_path / 'toy.gguf')}")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert "the package gguf, which is not installed: pip install gguf" in refused(study)
    (stage,) = (stage for stage in build_plan(study).stages if stage.name == "gguf")
    publish(Store(study.store), stage, {"config.json": b"{}"})
    preflight(study)  # It is converted already.


def test_benchmark_rows_of_another_type(small, write):
    path = write("rows", [{"problem": "x", "answer": 1, "level": 1}])
    message = refused(small(f"benchmarks.maths.source={path}", "benchmarks.maths.n=1"))
    assert f'benchmarks.maths: {path}, row 1: the column "answer" holds 1: give text, not 1' in message


def test_benchmark_rows_without_the_column(small, write):
    path = write("rows", [{"problem": "x", "level": 1}])
    message = refused(small(f"benchmarks.maths.source={path}", "benchmarks.maths.n=1"))
    assert f'benchmarks.maths: {path}, row 1: the column "answer" is missing' in message


def test_fewer_benchmark_rows_than_asked_for(small, write):
    path = write("rows", [{"problem": "x", "answer": "1", "level": 1}])
    message = refused(small(f"benchmarks.maths.source={path}", "benchmarks.maths.n=2"))
    assert f"benchmarks.maths: n: 2 rows are asked for, but {path} has 1" in message


def test_an_instruction_type_that_cannot_be_checked(small, write):
    row = {"key": 17, "prompt": "x", "instruction_id_list": ["keywords:existence", "made:up"], "kwargs": [{}, {}]}
    message = refused(small(f"benchmarks.follow={{kind: ifeval, n: 1, source: {write('rows', [row])}}}"))
    assert "benchmarks.follow: " in message
    assert "row 17" in message
    assert "made:up" in message


def test_instructions_that_need_data_beyond_a_package_say_how_to_get_it(small, write, monkeypatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    row = {
        "key": 1,
        "prompt": "x",
        "instruction_id_list": ["length_constraints:number_sentences"],
        "kwargs": [{"num_sentences": 2, "relation": "at least"}],
    }
    message = refused(small(f"benchmarks.follow={{kind: ifeval, n: 1, source: {write('rows', [row])}}}"))
    assert "benchmarks.follow: " in message
    assert "python -m nltk.downloader punkt_tab" in message


def test_a_gold_answer_that_cannot_be_read(small, write):
    rows = [{"problem": "x", "answer": answer, "level": 1, "unique_id": f"row-{answer}"} for answer in ("1", "")]
    message = refused(small(f"benchmarks.maths.source={write('rows', rows)}", "benchmarks.maths.n=2"))
    assert "benchmarks.maths: " in message
    assert "'row-'" in message
    assert (
        "(1 of 2 rows have such a gold answer): correct it, or skip such examples with skip_unreadable: true" in message
    )


def test_gold_answers_that_cannot_be_read_are_skipped_where_a_study_says_so(small, write):
    def study(*answers: str) -> Study:
        rows = [{"problem": "x", "answer": answer, "unique_id": f"row-{i}"} for i, answer in enumerate(answers)]
        source = f"benchmarks.maths.source={write('rows', rows)}"
        return small(source, "benchmarks.maths.n=all", "benchmarks.maths.skip_unreadable=true")

    (note,) = preflight(study("1", "\\frac{", "2", ""))
    assert "Note: benchmarks.maths: 2 of 4 examples are skipped: row 'row-" in note
    assert note.count("its gold answer") == 2
    data.identity.cache_clear()
    assert preflight(study("1", "2")) == [
        "Note: benchmarks.maths.skip_unreadable has no effect: all gold answers can be read."
    ]
    data.identity.cache_clear()
    assert "(2 of 2 rows have such a gold answer)" in refused(study("", " "))
    data.identity.cache_clear()


def test_a_row_that_is_wrong_otherwise_is_not_skipped(small, write):
    rows = [{"problem": "x", "answer": "1", "level": level} for level in (1, "hard")]
    source = f"benchmarks.maths.source={write('rows', rows)}"
    message = refused(small(source, "benchmarks.maths.n=2", "benchmarks.maths.skip_unreadable=true"))
    assert "its level 'hard' is not a whole number" in message


def test_an_option_that_is_several_tokens(small, write, monkeypatch):
    monkeypatch.setattr(mmlu, "OPTIONS", ("A", "B", "C", "unheard"))
    message = refused(small("benchmarks.facts.answer_by=logprob", "benchmarks.facts.prompt='{question}'"))
    assert "benchmarks.facts: unheard is more than one token for models.student" in message


@pytest.mark.parametrize("override", ["benchmarks.maths.thinking=off", "sampling.thinking=on"])
def test_thinking_that_no_template_switches(small, override):
    message = refused(small(override))
    assert override.partition("=")[0] in message
    assert "no model's chat template has a switch" in message


def test_target_modules_that_a_local_student_does_not_have(small, tmp_path):
    message = refused(small("train.target_modules=[v_proj, q_prj]"))
    assert 'train.target_modules: "q_prj" is not among the layers of models.student; did you mean "q_proj"?' in message
    shutil.copytree(shipped.FOLDER / "steps", tmp_path / "student")
    local = f"models.student={tmp_path / 'student'}"
    other = "conditions.other={kind: off_model, train: {target_modules: [mlp.q_proj]}}"
    assert '"mlp.q_proj" is not among the layers' in refused(small(local, other))
    preflight(small(local, "train.target_modules=[self_attn.q_proj, layers.0.mlp.up_proj]"))
    preflight(small("train={learning_rate: 1, tuning: full, target_modules: [q_prj]}"))  # without an effect


@pytest.mark.slow
def test_sampling_that_a_task_of_lm_eval_does_not_take(small):
    message = refused(small("benchmarks.more={kind: 'lm_eval:mmlu_anatomy', n: 2, max_tokens: 9}"))
    assert "benchmarks.more: lm_eval:mmlu_anatomy compares log-probabilities" in message
    message = refused(small("benchmarks.more={kind: 'lm_eval:gsm8k', n: 2, thinking: off}"))
    assert "benchmarks.more.thinking: no model's chat template has a switch" in message


@pytest.mark.slow
def test_a_task_that_lm_eval_does_not_have(small):
    message = refused(small("benchmarks.more={kind: 'lm_eval:gsm9k', n: 2}"))
    assert "benchmarks.more: " in message
    assert "gsm8k" in message


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("'{problem} {problm}'", "{problm}"),
        ("'{problem} {0}'", "prompt"),
    ],
)
def test_a_prompt_that_names_an_unknown_column(small, prompt, part):
    message = refused(small(f"benchmarks.maths.prompt={prompt}"))
    assert "benchmarks.maths: " in message
    assert part in message


def test_finished_weights_that_were_damaged(small, publish):
    study = small()
    plan, store = build_plan(study), Store(study.store)
    trained = next(stage for stage in plan.stages if stage.kind == "train")
    publish(store, trained, {"adapter.bin": b"weights"}, weights="adapter")
    preflight(study)
    path = store.folder(trained.address, store.record(trained)) / "adapter.bin"
    path.write_bytes(b"wEights")
    message = refused(study)
    assert f"{path}: its checksum is not that of its record" in message
    assert f"remove {study.store}/{trained.address}, and the stage runs again" in message
    path.unlink()
    assert f"{path}: " in refused(study)


def test_damaged_weights_that_no_stage_will_load_are_ignored(small, publish):
    study = small()
    plan, store = build_plan(study), Store(study.store)
    for stage in plan.stages:
        publish(store, stage, {"adapter.bin": b"weights"})
    trained = next(stage for stage in plan.stages if stage.kind == "train")
    (store.folder(trained.address, store.record(trained)) / "adapter.bin").write_bytes(b"wEights")
    preflight(study)


def test_synthetic_problems_are_not_examples_of_a_benchmark(small):
    preflight(small(*GRPO, PROBLEMS, "benchmarks.maths.n=200"))


def test_problems_that_are_examples_of_a_benchmark(small, write):
    rows = benchmark_rows("math500", 5, 0)
    path = write("problems", [*benchmark_rows("math500", 5, 0, test=False), *rows[:2]])
    study = [*GRPO, PROBLEMS, f"rl_problems.source={path}"]
    message = refused(small(*study, "rl_problems.n=7"))
    assert "rl_problems: 2 of them are also examples of benchmarks.maths" in message
    assert f"leave them out of {path}" in message
    # However they are asked, and whichever columns they have.
    other = write("other", [{**row, "more": 1} for row in rows])
    message = refused(
        small(*study, f"rl_problems.source={other}", "rl_problems.n=5", "rl_problems.prompt='{problem} ?'")
    )
    assert "problems: 5 of them" in message
    preflight(small(*study, "rl_problems.n=7", "benchmarks.maths.kind=olympiadbench", "benchmarks.maths.prompt=null"))


def test_problems_that_cannot_be_graded_or_read(small, write):
    study = [*GRPO, PROBLEMS]
    path = write("problems", [{"problem": "x", "answer": "", "level": 1, "unique_id": "row-1"}])
    message = refused(small(*study, f"rl_problems.source={path}", "rl_problems.n=1"))
    assert "problems: " in message
    assert "'row-1'" in message
    message = refused(small(*study, f"rl_problems.source={write('none', [{'problem': 'x'}])}", "rl_problems.n=1"))
    assert "problems: " in message
    assert 'row 1: the column "answer" is missing' in message
    message = refused(small(*study, f"rl_problems.source={path}"))
    assert f"problems: n: 6 rows are asked for, but {path} has 1" in message


def test_a_problem_longer_than_the_context(small):
    message = refused(small(*GRPO, PROBLEMS, f"rl_problems.prompt='{{problem}} {'fox ' * 60}'", "max_model_len=60"))
    assert "problems, row " in message
    assert "raise max_model_len" in message


def test_an_unreadable_benchmark_is_named_beside_rl_problems(small, write):
    path = write("rows", [{"problem": "x", "answer": "1", "level": 1}])
    message = refused(small(*GRPO, PROBLEMS, f"benchmarks.maths.source={path}", "benchmarks.maths.n=2"))
    assert f"benchmarks.maths: n: 2 rows are asked for, but {path} has 1" in message


def test_a_checkpoint_beyond_the_steps_of_the_training(small):
    recipe = "train={learning_rate: 1, batch_size: 4, num_train_epochs: 2}"  # of at most 20 answers
    preflight(small(recipe, "train.checkpoints=[1, 10]"))
    message = refused(small(recipe, "train.checkpoints=[1, 11]"))
    assert "train.checkpoints: 11 is beyond the 10 steps of conditions.off-model" in message
    preflight(small(recipe, "train.checkpoints=[1, 11]", "train.max_steps=11"))
    assert "beyond the 2 steps" in refused(small(*GRPO, PROBLEMS, "train.batch_size=3", "train.checkpoints=[3]"))


@pytest.fixture
def stranger(tmp_path):
    """A checkpoint with another tokenizer."""
    folder = tmp_path / "stranger"
    shutil.copytree(shipped.FOLDER / "terse", folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"][-2:] = reversed(tokenizer["model"]["vocab"][-2:])
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return f"models.terse={folder}"


def test_a_teacher_whose_logits_are_used_has_the_students_tokenizer(small, stranger):
    preflight(small("train.objective=on_policy_distillation", "recoveries={}"))
    message = refused(small("train.objective=on_policy_distillation", "recoveries={}", stranger))
    assert "pairs: student and terse have different tokenizers" in message
    assert "use a teacher with the student's tokenizer" in message
    preflight(small("train.objective=sdft", "recoveries={}", stranger))


def test_a_self_reference_needs_no_teacher_with_the_same_tokenizer(small, stranger):
    preflight(small(stranger, "conditions={off-model: }", "recoveries.own.train={objective: on_policy_distillation}"))
    preflight(small(stranger, "conditions={on-model: {train: {objective: on_policy_distillation}}}", "recoveries={}"))


def test_answers_sampled_in_trainings_are_counted(small):
    def cost(*overrides: str) -> tuple[int, int]:
        study = small("conditions={off-model: }", "pairs.teachers=[words]", "seeds=[1]", *overrides)
        return cost_of([stage for stage in build_plan(study).stages if stage.kind == "train"], study)

    recipe = "train={learning_rate: 1, batch_size: 4, max_steps: 6, checkpoints: [3]}"
    assert cost(recipe, "recoveries={}") == (0, 0)
    # 6 steps of 4 prompts; a checkpoint asks for nothing of its own.
    assert cost(recipe, "train.objective=sdft", "recoveries={}") == (24, 24 * 8)
    assert cost(recipe, "train.objective=on_policy_distillation", "recoveries={}") == (24, 24 * 8)
    grpo = "{kind: grpo, num_generations: 3}"
    assert cost(recipe, f"train.objective={grpo}", PROBLEMS, "rl_problems.max_tokens=9", "recoveries={}") == (
        72,
        72 * 9,
    )
    # Of the budgets the largest alone: 8 steps of 2 problems, with 3 answers each.
    by_grpo = f"recoveries.own={{kind: grpo, conditions: [off-model], budgets: [4, 8], train: {{objective: {grpo}}}}}"
    assert cost(PROBLEMS, by_grpo, "recoveries.own.train.batch_size=2") == (48, 48 * 8)
    # Without a number of steps: 1.5 epochs of 20 prompts, then of 6 problems.
    recipe = "train={learning_rate: 1, batch_size: 3, num_train_epochs: 1.5}"
    assert cost(recipe, "train.objective=sdft", "recoveries={}")[0] == 10 * 3
    assert cost(recipe, f"train.objective={grpo}", PROBLEMS, "recoveries={}")[0] == 3 * 9
