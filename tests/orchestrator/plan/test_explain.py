"""`offmodel explain`: why a stage is not done."""

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.plan.explain import details, overview, why_not_done
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


def train(rate=0.1, rows=None, name="student", data=None) -> Stage:
    inputs = {} if data is None else {"data": data}
    return Stage("train", 1, name, {"rate": rate, "rows": rows, "schedule": {"epochs": 1}}, inputs)


def sample(seed: int) -> Stage:
    return Stage("sample", 1, "answers", {"sampling_params": {"seed": seed, "stops": ("a",)}})


def explain(stage: Stage, store: Store) -> list[str]:
    return list(why_not_done(stage, store, store.records_of_kind))


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_the_differing_field_is_named_with_both_values(store, publish):
    publish(store, train(rate=0.1), {})
    lines = explain(train(rate=0.2), store)
    assert lines == [
        f"most similar: {train(rate=0.1).address}, which differs in:",
        "  settings.rate: 0.2 here, 0.1 there",
    ]


def test_fields_that_only_one_has_and_versions_are_named(store, publish):
    publish(store, Stage("train", 1, "student", {"rate": 0.1, "schedule": {"epochs": 1}}), {})
    lines = explain(Stage("train", 2, "student", {"rate": 0.1, "schedule": {"steps": 3}}), store)
    assert lines[1:] == [
        "  settings.schedule.epochs: absent here, 1 there",
        "  settings.schedule.steps: 3 here, absent there",
        "  version: 2 here, 1 there",
    ]


def test_the_most_similar_stage_is_the_one_with_the_fewest_differences(store, publish):
    nearest = train(rate=0.1, rows=9, name="zzz")
    publish(store, train(rate=0.5, rows=7, name="student"), {})
    publish(store, nearest, {})
    lines = explain(train(rate=0.1, rows=8, name="student"), store)
    assert lines[0] == f"most similar: {nearest.address}, which differs in:"
    assert lines[1:] == ["  settings.rows: 8 here, 9 there"]


def test_of_equally_similar_stages_one_of_the_same_name_is_taken(store, publish):
    names = ("aaa", "student", "zzz")
    for i, name in enumerate(names):
        publish(store, train(rate=i, name=name), {})
    assert "train/student-" in explain(train(rate=9), store)[0]


def test_a_differing_input_is_explained_in_turn(store, publish):
    publish(store, sample(1), {})
    publish(store, train(data=sample(1)), {})
    needed = sample(2)
    assert explain(train(data=needed), store) == [
        f"most similar: {train(data=sample(1)).address}, which differs in:",
        f"  input data: {needed.address}",
        f"    most similar: {sample(1).address}, which differs in:",
        "      settings.sampling_params.seed: 2 here, 1 there",
    ]


def test_a_differing_input_that_is_done_is_not_explained(store, publish):
    publish(store, sample(1), {})
    publish(store, sample(2), {})
    publish(store, train(data=sample(1)), {})
    assert explain(train(data=sample(2)), store)[1:] == [f"  input data: {sample(2).address}"]


def test_the_first_stage_of_its_kind_has_no_similar_one(store, publish):
    publish(store, sample(1), {})
    assert explain(train(), store) == ["the store has no finished stage of the kind train"]


def test_long_values_are_cut(store, publish):
    publish(store, train(rate="a" * 500), {})
    (line,) = explain(train(rate="b" * 500), store)[1:]
    assert len(line) < 160
    assert "..." in line


def test_stages_with_the_same_reason_are_grouped_and_stages_that_wait_are_counted(store, publish):
    done, roots = sample(0), [sample(1), sample(2)]
    publish(store, done, {})
    waiting = [train(data=root) for root in roots]
    records = store.records([done, *roots, *waiting])
    lines = list(overview([done, *roots, *waiting], records, store))
    assert lines[0] == "done: 1 sample"
    assert f"not done: {roots[0].address}" in lines
    assert lines[-1].startswith("not done, because stages that they need are not: 2 train")
    alone = [train(rate=1), train(rate=2)]
    (line, reason) = overview(alone, {}, store)
    assert line == f"not done: {alone[0].address}, {alone[1].address}"
    assert reason == "  the store has no finished stage of the kind train"


def test_details_have_the_settings(store):
    lines = list(details([train(rate=0.1)], {}, store))
    assert lines[0] == f"not done: {train(rate=0.1).address}"
    assert "    schedule.epochs: 1" in lines


def test_the_command_prints_the_study_with_all_defaults(small, tmp_path, monkeypatch, capsys):
    small()  # writes the file
    words = ["explain", str(tmp_path / "small.yaml"), "--settings", f"store={tmp_path / 'runs'}", "train.lora_r=4"]
    words += ["benchmarks.facts={kind: mmlu, n: all}", "sampling.thinking=off"]
    monkeypatch.setattr("sys.argv", ["offmodel", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    settings = yaml.safe_load(capsys.readouterr().out)
    assert (settings["train"]["lora_r"], settings["train"]["lora_alpha"]) == (4, 16)
    assert settings["conditions"]["prefill"] == {
        "kind": "prefill",
        "tokens": 2,
        "share": None,
        "from_model": "student",
        "benchmarks": ["maths"],
        "pairs": None,
        "until": None,
    }
    assert settings["benchmarks"]["facts"]["n"] == "all"
    assert settings["recoveries"]["own"]["train"] == {}
    assert (settings["benchmarks"]["facts"]["max_tokens"], settings["benchmarks"]["facts"]["samples"]) == (1, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "[--stage KIND/NAME]"),
        (
            ["{study}", "--stage", "training/"],
            r'no stage has "training/" in its address: give a part of an address such as',
        ),
        (["{study}", "--stage", "training/"], "or one of model/, sample/, evaluate/, train/"),
    ],
)
def test_the_command_says_what_a_stage_argument_looks_like(small, tmp_path, monkeypatch, capsys, words, said):
    small()  # writes the file
    monkeypatch.setattr(
        "sys.argv", ["offmodel", "explain", *(word.format(study=tmp_path / "small.yaml") for word in words)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
