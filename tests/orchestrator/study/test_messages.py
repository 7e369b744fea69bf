"""No wrong value anywhere in a study gets a message in pydantic's words."""

import copy
import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from orchestrator import conditions, recoveries
from orchestrator.conditions import CONDITIONS
from orchestrator.recoveries import RECOVERIES
from orchestrator.study import (
    benchmarks,
    cost_assumptions,
    data,
    hypotheses,
    models,
    pairs,
    prompts,
    resources,
    tracking,
)
from orchestrator.study.conditions import Condition, WithOptions
from orchestrator.study.load import load_study
from orchestrator.study.recoveries import Recovery, Search
from orchestrator.study.references import mistakes_in
from orchestrator.study.schema import Study
from orchestrator.study.settings import Settings, StudyError, mistakes
from orchestrator.study.train import Train
from tests.conftest import SMALL
from trainers import objectives
from trainers.objectives import OBJECTIVES

WHOLE: dict[str, Any] = yaml.safe_load(SMALL) | {
    "rl_problems": {"kind": "math500", "source": "synthetic", "n": 1, "max_tokens": 1},
    "resources": {"train": {}, "engine": {}},
    "tracking": {},
    "cost_assumptions": {"api": {"remote": {"input": 1, "output": 1}}},
    "data": {"rows": {"source": "a/rows", "prompt": "question", "answer": "reply"}},
    "measures": {"kl": ["maths"]},
    "hypotheses": [
        {
            "source": "ours",
            "claim": "c",
            "expected": "lower",
            "compare": {"condition": "off-model", "benchmark": "maths"},
            "versus": {"condition": "untrained"},
        }
    ],
}
WHOLE["models"] |= {
    "toy": {"organism": "steps"},
    "of the hub": {"hub": "a/b"},
    "local": {"path": "/x"},
    "in a file": {"gguf": "/x.gguf"},
    "trained": {"trained_from": "toy", "data": "rows"},
    "remote": {"api": "x"},
}
WHOLE["benchmarks"]["task"] = {"kind": "lm_eval:gsm8k"}
WHOLE["recoveries"]["own"]["search"] = {"benchmark": "maths"}
WHOLE["conditions"]["off-model"] = {}
LISTED = WHOLE | {"pairs": [{"student": "student", "teacher": "words"}]}

PLACES: dict[type[Settings], tuple[str | int, ...]] = {
    Study: (),
    models.OrganismModel: ("models", "toy"),
    models.HubModel: ("models", "of the hub"),
    models.LocalModel: ("models", "local"),
    models.GGUFModel: ("models", "in a file"),
    models.TrainedModel: ("models", "trained"),
    models.RemoteModel: ("models", "remote"),
    data.DataSet: ("data", "rows"),
    pairs.PairGrid: ("pairs",),
    pairs.Pair: ("pairs", 0),
    prompts.Prompts: ("prompts",),
    prompts.Sampling: ("sampling",),
    prompts.Problems: ("rl_problems",),
    Train: ("train",),
    Condition: ("conditions", "off-model"),
    Recovery: ("recoveries", "own"),
    Search: ("recoveries", "own", "search"),
    benchmarks.GradedBenchmark: ("benchmarks", "maths"),
    benchmarks.LmEvalBenchmark: ("benchmarks", "task"),
    resources.Resources: ("resources",),
    resources.TrainResources: ("resources", "train"),
    resources.EngineResources: ("resources", "engine"),
    tracking.Tracking: ("tracking",),
    cost_assumptions.CostAssumptions: ("cost_assumptions",),
    cost_assumptions.TokenPrice: ("cost_assumptions", "api", "remote"),
    hypotheses.Hypothesis: ("hypotheses", 0),
    hypotheses.Point: ("hypotheses", 0, "compare"),
}
BASES = {benchmarks.Benchmark, models.Model, models.OpenModel, WithOptions}

WRONG: list[Any] = [  # all that YAML may hold
    *(None, True, -1, 0, 1.5, 10**20, float("inf"), float("nan"), "", "x", "lm_eval:", b"\xff", b"x"),
    *(
        [],
        [None],
        [1],
        ["x"],
        [[1]],
        [{}],
        {},
        {"a": 1},
        {"kind": "x"},
        {"kind": [1]},
        {1: 2},
        {None: None},
        {"": {}},
        {(): 1},
    ),
    *(datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), {"a"}),
]


def subclasses(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in of.__subclasses__():
        yield one
        yield from subclasses(one)


def options_of_conditions_and_recoveries() -> Iterator[tuple[str, type[Settings]]]:
    for plugins in (CONDITIONS, RECOVERIES):
        for kind in plugins:
            yield kind, plugins.module(kind).Options


OPTIONS = dict(options_of_conditions_and_recoveries())
CLASSES = {*subclasses(Settings)}
# In the words of pydantic or Python, as in "Input should be a valid list" or `pairs.bool`, or a pattern.
RAW = re.compile(
    r"(?i:input should|a valid|validat(?!ion or test)|should be|pydantic|type=|value error|assert|instance|unable)"
    r"|(?i:exceed)"
    r"|<class|datetime\.|\^"
    r"|\.(int|str|float|bool|list|dict)\b|\[(str|key|int)\]|\bError\b"
    rf"|\b({'|'.join({each.__name__ for each in CLASSES})})\b"
)


def complaint(act: Callable[[], Any]) -> str:
    """The message of a mistake, or nothing. Any other error fails the test."""
    try:
        found = act()
    except ValidationError as error:
        found = mistakes(error, "")
    except ValueError as error:
        found = [str(error)]
    return "\n".join(found or ())


def with_value(whole: dict[str, Any], place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed: Any = copy.deepcopy(whole)
    at = changed
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return changed


def study_with(place: tuple[str | int, ...], value: Any) -> list[str]:
    whole = LISTED if place[:2] == ("pairs", 0) else WHOLE
    return list(mistakes_in(Study.model_validate(with_value(whole, place, value))))


def check(given: Any, message: str) -> None:
    assert not RAW.search(message), f"{given!r}: {message}"
    assert all(len(line) < 2000 for line in message.splitlines())


def test_the_whole_study_has_no_mistake():
    for whole in (WHOLE, LISTED):
        assert list(mistakes_in(Study.model_validate(whole))) == []


def test_every_part_of_the_schema_is_tried():
    of_studies = {one for one in CLASSES if one.__module__.startswith("orchestrator.study.")}
    assert of_studies - BASES == PLACES.keys()


@pytest.mark.parametrize("part", PLACES, ids=lambda part: part.__name__)
def test_a_wrong_value_of_a_field_has_a_message_in_plain_words(part):
    refused = set()
    for field in part.model_fields:
        for value in WRONG:
            message = complaint(lambda place=(*PLACES[part], field), value=value: study_with(place, value))
            check((field, value), message)
            refused |= {field} if message else set()
    assert refused == part.model_fields.keys(), "each field refuses some of them"


@pytest.mark.parametrize("part", [part for part in PLACES if PLACES[part]], ids=lambda part: part.__name__)
def test_a_wrong_value_in_place_of_a_part_has_a_message_in_plain_words(part):
    messages = [complaint(lambda value=value: study_with(PLACES[part], value)) for value in WRONG]
    for value, message in zip(WRONG, messages, strict=True):
        check(value, message)
    assert any(messages)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_wrong_option_of_a_condition_or_recovery_has_a_message_in_plain_words(kind):
    def validated(field: str, value: Any) -> None:
        if kind in RECOVERIES:
            recoveries.options("x", Recovery(kind=kind, conditions=["x"], budgets=[1], **{field: value}))
        else:
            conditions.options("x", Condition(kind=kind, **{field: value}))

    for field in OPTIONS[kind].model_fields:
        messages = [complaint(lambda field=field, value=value: validated(field, value)) for value in WRONG]
        for value, message in zip(WRONG, messages, strict=True):
            check((field, value), message)
        assert any(messages)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_wrong_option_of_an_objective_has_a_message_in_plain_words(kind):
    for field in fields(objectives.get(kind).options):
        for value in WRONG:
            objective = {"kind": kind, field.name: value}
            message = complaint(lambda objective=objective: study_with(("train", "objective"), objective))
            check(objective, message)


def test_a_study_that_is_no_mapping_of_texts_is_refused_in_plain_words(tmp_path):
    path = tmp_path / "study.yaml"
    for text in ("1: 2", "null: 1", "[1]: 2", "x"):
        path.write_text(text)
        with pytest.raises(StudyError) as raised:
            load_study(path)
        check(text, str(raised.value))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("prompts",), {1: 2, "source": "synthetic", "n": 1}, "prompts.1: unknown key; known are column"),
        (("benchmarks",), {1: WHOLE["benchmarks"]["maths"]}, "benchmarks.1: write this key as text, in quotes"),
        (("resources", "train", "zero"), 10**20, "resources.train.zero: give a whole number, not 1000"),
        (
            ("resources", "train", "gpus"),
            1.5,
            "resources.train.gpus: a worker has at most one GPU, not 1.5: set workers: 2",
        ),
        (("name",), "a b", 'name: give letters, digits, _, . and -, beginning with a letter or digit, not "a b"'),
        (("models", "remote", "key_env"), "key", "models.remote.key_env: give the name of an environment variable"),
        (("models", "remote", "base_url"), "localhost", "models.remote.base_url: give a URL that begins with http"),
        (("hypotheses", 0, "experiment"), [1], "hypotheses.0.experiment: give a number or text, not [1]"),
        (("measures", "kl"), [1], "measures.kl: give true or a list of benchmarks, as [maths], not [1]"),
        (("measures", "kl"), "facts", "measures.kl: give true or a list of benchmarks, as [facts]"),
    ],
)
def test_the_message_says_what_to_write(place, value, message):
    assert message in complaint(lambda: study_with(place, value))
