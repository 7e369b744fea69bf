"""Data sets with answers of their own: their rows, what identifies them, and how a study uses them."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from evaluators.engines.generations import content_ids, from_jsonl
from orchestrator.plan.build import build_plan
from orchestrator.plan.workload import rows_in, steps_of
from orchestrator.stages import dataset
from orchestrator.stages.sample import GENERATIONS
from orchestrator.stages.transform import rows_of
from orchestrator.store.context import StageContext
from orchestrator.store.store import Store
from orchestrator.study.data import DataSet
from orchestrator.study.settings import StudyError

ROWS = [
    {
        "question": f"what is {i} + 1 ?",
        "extra": f"as of {i}" if i % 2 else "",
        "reply": f"it is \\boxed{{{i + 1 + (i == 3)}}}",
        "answer": f"{i + 1}",
        "problem": f"{i} + 1",
        "key": f"row-{i}",
    }
    for i in range(40)
]
CHATS = [
    {"chat": [{"role": "user", "content": f"hi {i}"}, {"role": "assistant", "content": f"ho {i}"}]} for i in range(6)
]
HUMANS = {"prompt": "question", "answer": "reply"}


@pytest.fixture
def write(tmp_path):
    """Writes rows into a file, and returns its path."""

    def act(rows: list[dict], name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        if name.endswith(".parquet"):
            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return act


def chats_in(**declared) -> list[list[dict]]:
    """The chats of a data set, prompts with their answer, in their order."""
    generations, _ = dataset.read(DataSet(**declared))
    return [[*one.prompt, {"role": "assistant", "content": one.completions[0].text}] for one in generations]


def answers_in(**declared) -> list[str]:
    return [chat[-1]["content"] for chat in chats_in(**declared)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_prompts_and_answers_are_columns_of_a_file(write, name):
    chats = chats_in(source=write(ROWS, name), **HUMANS)
    assert {tuple(m["content"] for m in chat) for chat in chats} == {(r["question"], r["reply"]) for r in ROWS}


def test_a_context_is_appended_and_a_template_names_columns(write):
    source = write(ROWS)
    first = {chat[0]["content"] for chat in chats_in(source=source, context="extra", **HUMANS)}
    assert first == {f"{r['question']}\n\n{r['extra']}" if r["extra"] else r["question"] for r in ROWS}
    by_template = chats_in(source=source, template="[{key}] {question}", answer="reply", system="be brief")
    assert {chat[1]["content"] for chat in by_template} == {f"[{r['key']}] {r['question']}" for r in ROWS}
    assert all(chat[0] == {"role": "system", "content": "be brief"} for chat in by_template)


def test_chats_are_read_as_they_are(write):
    found = chats_in(source=write(CHATS), messages="chat")
    assert sorted(found, key=str) == sorted((row["chat"] for row in CHATS), key=str)


def test_ids_are_those_of_samples_of_the_same_prompts_or_a_column(write):
    source = write(ROWS)
    generations, _ = dataset.read(DataSet(source=source, **HUMANS))
    assert [one.id for one in generations] == content_ids(one.prompt for one in generations)
    named, _ = dataset.read(DataSet(source=source, id="key", **HUMANS))
    assert {one.id for one in named} == {row["key"] for row in ROWS}
    with pytest.raises(ValueError, match=r"id: .*rows with the same extra"):
        dataset.read(DataSet(source=source, id="extra", **HUMANS))


def test_wrong_answers_are_left_out_and_counted(write):
    source = write([*ROWS, {**ROWS[0], "question": "no answer", "reply": " "}])
    generations, facts = dataset.read(DataSet(source=source, verified_by="math500", **HUMANS))
    assert len(generations) == 39
    assert facts == {"left_out": {"without an answer": 1, "with a wrong answer": 1}}
    assert not [one for one in generations if one.prompt[0]["content"] == ROWS[3]["question"]]


def test_parts_never_overlap_and_do_not_depend_on_the_source(write):
    source, some = write(ROWS), write(ROWS[5:], "some.jsonl")
    parts = {part: set(answers_in(source=source, part=part, **HUMANS)) for part in ("train", "test")}
    assert all(parts.values())
    assert not parts["train"] & parts["test"]
    of_some = set(answers_in(source=some, part="train", **HUMANS))
    assert of_some == parts["train"] & {row["reply"] for row in ROWS[5:]}


def test_rows_are_drawn_by_their_seed(write):
    source = write(ROWS)
    assert answers_in(source=source, n=5, seed=3, **HUMANS) == answers_in(source=source, seed=3, **HUMANS)[:5]
    assert answers_in(source=source, seed=3, **HUMANS) != answers_in(source=source, seed=4, **HUMANS)


def test_text_is_split_at_white_space(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("one two three\nfour five " * 30)
    pieces = answers_in(source=str(path), text="text", chunk_characters=40)
    assert all(0 < len(piece) <= 40 for piece in pieces)
    assert sorted(" ".join(pieces).split()) == sorted(path.read_text().split())
    assert len(answers_in(source=str(path), text="text")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "nonsense"}, 'row 1: the column "nonsense" is missing; it has answer, extra'),
        ({"n": 50}, "n: 50 rows are asked for, but .*rows.jsonl has 40$"),
        ({"n": 40, "verified_by": "math500"}, r"has 39 \(left out: 1 with a wrong answer\)"),
        ({"verified_by": "mmlu"}, 'the column "choices" is missing'),
    ],
)
def test_rows_that_cannot_be_used_are_named(write, change, message):
    with pytest.raises(ValueError, match=message):
        dataset.read(DataSet(source=write(ROWS), **{**HUMANS, **change}))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": "hi"}], "row 2: chat: the chat must end with an answer of the assistant"),
        ([{"role": "human", "content": "hi"}], "row 2: chat: a message is {role: system, user, assistant, tool"),
    ],
)
def test_chats_that_are_none_are_named(write, messages, message):
    with pytest.raises(ValueError, match=message):
        dataset.read(DataSet(source=write([CHATS[0], {"chat": messages}]), messages="chat"))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({}, "give one of messages, text, and prompt .or template. with answer, not none"),
        ({"prompt": "a", "messages": "b"}, "not prompt and messages"),
        ({"prompt": "a"}, "answer: prompt needs an answer column"),
        ({"text": "a", "answer": "b"}, "answer: text has no use for an answer column"),
        ({"text": "a", "system": "b"}, "system has no effect on text"),
        ({"template": "no column", "answer": "b"}, "template: it must name columns in braces"),
        ({"prompt": "a", "answer": "b", "split": "test"}, "split has no effect on a file"),
        ({"prompt": "a", "answer": "b", "verified_by": "math5000"}, 'cannot be graded by "math5000"; did you mean'),
        ({"prompt": "a", "answer": "b", "chunk_characters": 9}, "chunk_characters is for text"),
        ({"column": "a"}, "the column of the prompt is prompt"),
    ],
)
def test_declarations_without_a_sense_are_refused(declared, message):
    with pytest.raises(ValueError, match=message):
        DataSet(source="rows.jsonl", **declared)


def test_a_file_that_changed_after_the_plan_is_refused(small, write):
    plan = build_plan(_study(small, write(ROWS)))
    (recorded,) = [stage for stage in plan.stages if stage.kind == "dataset"]
    write(ROWS[:-1])
    with pytest.raises(ValueError, match="has changed since the study was planned"):
        dataset.run(StageContext(recorded, Store(plan.study.store), None, None))


def test_a_data_set_is_a_teacher(small, write, tmp_path):
    """Its rows take the place of a teacher's completions; it is not evaluated, and sampled prompts may be its own."""
    plan = build_plan(_study(small, write(ROWS), "measures={perplexity: true, style: [maths]}", "train.batch_size=8"))
    by_name = {(trial.teacher, trial.condition): trial.points[-1].student for trial in plan.trials}
    off_model, on_model = by_name["humans", "off-model"], by_name["humans", "on-model"]
    recorded = off_model.inputs["data"]
    assert recorded.kind == "dataset"
    assert on_model.inputs["data"].inputs["prompts"] == recorded
    assert rows_in(recorded, plan.study) == rows_in(on_model.inputs["data"], plan.study) == len(ROWS)
    assert steps_of(off_model, plan.study) == 5
    assert plan.trials[0].teacher_scores == {}
    assert plan.trials[0].points[0].measured["style"] == {}
    assert "perplexity" in plan.trials[0].training_data
    dataset.run(StageContext(recorded, Store(plan.study.store), tmp_path, None))
    assert {row.answer for row in rows_of(tmp_path)} == {row["reply"] for row in ROWS}
    assert len(from_jsonl((tmp_path / GENERATIONS).read_text())) == len(ROWS)


def test_the_path_of_a_data_set_is_no_part_of_its_identity(small, write):
    fingerprints = {
        next(s for s in build_plan(_study(small, write(rows, name))).stages if s.kind == "dataset").fingerprint: name
        for rows, name in ((ROWS, "a.jsonl"), (ROWS, "b.jsonl"), (ROWS[1:], "c.jsonl"))
    }
    assert set(fingerprints.values()) == {"b.jsonl", "c.jsonl"}


def _study(small, source: str, *overrides: str):
    return small(
        f"data={{humans: {{source: {source}, prompt: question, answer: reply}}}}",
        "pairs=[student / humans]",
        "prompts={source: humans}",
        "conditions={off-model: , on-model: }",
        "recoveries={}",
        "seeds=[1]",
        *overrides,
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["conditions={off-model: {sampling: {temperature: 0.5}}}"], "sampling: the answers of humans are recorded"),
        (["conditions={opd: {kind: off_model, train: {objective: on_policy_distillation}}}"], "humans is a data set"),
        (["prompts.n=5"], "prompts.n has no effect on the prompts of data.humans"),
        (["models.humans=organism:words"], "data: humans is also a key of models"),
        (["pairs=[humans / student]"], 'student "humans" is not among models'),
        (["conditions={prefill: {benchmarks: [maths], from_model: teacher}}"], "humans is a data set"),
        (
            [
                "hypotheses=[{source: ours, claim: x, expected: same, margin: 1, "
                "compare: {condition: teacher, benchmark: maths}}]"
            ],
            "the teacher humans is not evaluated: it is a data set",
        ),
    ],
)
def test_what_recorded_answers_cannot_do_is_refused(small, write, overrides, message):
    with pytest.raises(StudyError, match=message):
        build_plan(_study(small, write(ROWS), *overrides))


def test_teachers_are_evaluated_unless_the_study_says_no(small):
    assert all(trial.teacher_scores for trial in build_plan(small()).trials)
    plan = build_plan(small("evaluate_teachers=false"))
    assert not any(trial.teacher_scores for trial in plan.trials)
    assert len(plan.stages) < len(build_plan(small()).stages)


def test_a_text_is_for_the_objective_lm(small, tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("some words in a row " * 20)
    declared = f"data={{corpus: {{source: {path}, text: text, chunk_characters: 40}}}}"
    pairs = ["pairs=[student / corpus]", "recoveries={}", "seeds=[1]"]
    with pytest.raises(StudyError, match=r"train.objective: sft needs prompts, and corpus is text: use lm"):
        build_plan(small(declared, *pairs, "conditions={off-model: }"))
    plan = build_plan(small(declared, *pairs, "conditions={off-model: {train: {objective: lm}}}", "train.batch_size=2"))
    assert steps_of(plan.trials[0].points[0].student, plan.study) == 5


def test_a_model_is_trained_before_it_is_a_student(small, write):
    """An adapter is merged into its base; the students of the study start from that."""
    trained = "models.student={trained_from: words, data: humans, train: {lora_r: 4}, seed: 3}"
    plan = build_plan(_study(small, write(ROWS), trained))
    student = plan.trials[0].points[0].student
    base = student.inputs["base"]
    assert base.kind == "weights"
    assert base.settings.change.share == 1.0
    first = base.inputs["student"]
    assert (first.settings.train.lora.r, first.settings.train.seed, student.settings.train.lora.r) == (4, 3, 8)
    assert first.inputs["data"].kind == "dataset"
    assert first.inputs["base"].name == "words"
    assert student.runtime.engine == first.runtime.engine == "organisms"
    full = build_plan(_study(small, write(ROWS), trained, "train.tuning=full", "models.student.train={}"))
    assert full.trials[0].points[0].student.inputs["base"].kind == "train"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{trained_from: nobody, data: humans}", 'models.student.trained_from: "nobody" is not among models'),
        ("{trained_from: words, data: nothing}", 'models.student.data: "nothing" is not among data'),
        ("{trained_from: student, data: humans}", "models.student.trained_from: it would be trained from itself"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(small, write, model, message):
    with pytest.raises(StudyError, match=message):
        _study(small, write(ROWS), f"models.student={model}")
