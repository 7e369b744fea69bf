"""What a stage's identity is made of."""

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from evaluators.identity import ADDED
from orchestrator.store.stage import Runtime, Stage, canonical_json, closure


def make(**changed) -> Stage:
    base = Stage("model", 1, "base", {"hub": "a/b"})
    plain = {"kind": "train", "version": 1, "name": "n", "settings": {"rate": 0.1, "rows": 3}, "inputs": {"base": base}}
    return Stage(**{**plain, **changed})


def test_name_and_runtime_are_not_part_of_the_identity():
    other = make(name="another", runtime=Runtime(cpus=8, engine="e"))
    assert other.fingerprint == make().fingerprint
    assert other == make()
    assert len({other, make()}) == 1


@dataclass(frozen=True, kw_only=True)
class Schedule:
    steps: int | None
    rates: tuple[float, ...] = (0.1,)


@dataclass(frozen=True, kw_only=True)
class Settings:
    schedule: Schedule
    options: object


def test_the_identity_has_all_fields_of_nested_dataclasses_as_json_values():
    settings = Settings(schedule=Schedule(steps=3), options={"like": Schedule(steps=None)})
    stage = make(settings=settings)
    expected = {"schedule": {"steps": 3, "rates": [0.1]}, "options": {"like": {"steps": None, "rates": [0.1]}}}
    assert stage.identity["settings"] == expected
    assert make(settings=expected) == stage
    assert make(settings=replace(settings, schedule=Schedule(steps=4))) != stage
    with pytest.raises(ValueError, match=r"settings\.options is a set"):
        _ = make(settings=replace(settings, options={1})).fingerprint


@dataclass(frozen=True, kw_only=True)
class LongerSchedule(Schedule):
    warmup: float = field(default=0.0, metadata=ADDED)


def test_a_setting_that_was_added_changes_no_identity_by_default():
    settings = Settings(schedule=LongerSchedule(steps=3), options=None)
    stage = make(settings=settings)
    assert stage.fingerprint == make(settings=replace(settings, schedule=Schedule(steps=3))).fingerprint
    warmed = make(settings=replace(settings, schedule=LongerSchedule(steps=3, warmup=0.1)))
    assert warmed.identity["settings"]["schedule"] == {"steps": 3, "rates": [0.1], "warmup": 0.1}
    assert warmed.fingerprint != stage.fingerprint


def test_order_of_settings_and_inputs_does_not_matter():
    one, two = Stage("model", 1, "a", {"hub": "a"}), Stage("model", 1, "b", {"hub": "b"})
    ordered = make(settings={"x": 1, "y": {"p": 1, "q": 2}}, inputs={"base": one, "data": two})
    turned = make(settings={"y": {"q": 2, "p": 1}, "x": 1}, inputs={"data": two, "base": one})
    assert ordered.fingerprint == turned.fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "evaluate"},
        {"version": 2},
        {"settings": {"rate": 0.1, "rows": 4}},
        {"settings": {"rate": 0.1, "rows": None}},
        {"settings": {"rate": 0.1}},
        {"settings": {"rate": 0.1, "rows": True}},
        {"inputs": {}},
        {"inputs": {"start": Stage("model", 1, "base", {"hub": "a/b"})}},
        {"inputs": {"base": Stage("model", 1, "base", {"hub": "a/c"})}},
        {"inputs": {"base": Stage("model", 2, "base", {"hub": "a/b"})}},
    ],
    ids=str,
)
def test_what_decides_the_result_is_part_of_the_identity(changed):
    assert make(**changed).fingerprint != make().fingerprint
    assert make(**changed) != make()


def test_a_change_far_upstream_reaches_the_last_stage():
    def chain(hub):
        return make(inputs={"data": make(inputs={"data": Stage("model", 1, "base", {"hub": hub})})})

    assert chain("a").fingerprint != chain("b").fingerprint


def test_address_is_safe_in_a_path_and_differs_where_the_name_does_not():
    stage, other = make(name="harder maths/\u00fc: s1"), make(name="harder maths/\u00fc: s1", version=2)
    assert re.fullmatch(r"train/harder-maths-s1-[0-9a-f]{10}", stage.address)
    assert other.address != stage.address


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"train": {"rates": [0.1, math.nan]}}, r"train\.rates\[1\] is nan"),
        ({"rate": math.inf}, "rate is inf"),
        (-math.inf, "the value is -inf"),
        ({"levels": {1: "a"}}, "levels has the key 1, which is not a string"),
        ({None: "a"}, "the mapping has the key None"),
        ({"where": Path("x")}, "where is a PosixPath"),
        ({"names": {"a", "b"}}, "names is a set"),
        ([{"a": (1, b"x")}], r"\[0\]\.a\[1\] is a bytes"),
    ],
    ids=str,
)
def test_canonical_json_refuses_what_has_no_one_form(value, message):
    with pytest.raises(ValueError, match=message):
        canonical_json(value)


def test_canonical_json_tells_apart_what_differs_only_in_kind():
    forms = [canonical_json(value) for value in (1, 1.0, True, "1", [1], None)]
    assert len(set(forms)) == len(forms)
    assert canonical_json((1, 2)) == canonical_json([1, 2])


def test_closure_has_each_stage_once_and_inputs_first():
    def model():
        return Stage("model", 1, "base", {"hub": "a/b"})

    left = Stage("sample", 1, "left", {"seed": 1}, {"base": model()})
    right = Stage("sample", 1, "right", {"seed": 2}, {"base": model()})
    last = Stage("train", 1, "last", {}, {"base": model(), "left": left, "right": right})
    ordered = closure([last, right, last])
    assert len(ordered) == 4
    places = {stage: i for i, stage in enumerate(ordered)}
    assert all(places[needed] < places[stage] for stage in ordered for needed in stage.inputs.values())
    assert set(ordered) == {model(), left, right, last}


def test_long_names_fit_into_a_file_name():
    named = Stage("sample", 1, "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B " * 20, {"n": 1})
    (folder,) = named.address.split("/")[1:]
    assert len(f"{folder}.{'0' * 32}") < 255
    assert folder.endswith(named.fingerprint[:10])
