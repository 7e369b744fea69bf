"""The reference of fields and the JSON schema of study files."""

import json

import jsonschema
import pytest
import yaml

from orchestrator.cli import main
from orchestrator.conditions import CONDITIONS
from orchestrator.plan.catalogue import options_of
from orchestrator.plan.field_reference import json_schema, markdown, rows_of
from orchestrator.recoveries import RECOVERIES
from orchestrator.study.schema import Study
from tests.conftest import EXPERIMENTS, SMALL
from trainers.objectives import OBJECTIVES

FIELDS = {"study": Study.model_fields} | {
    kind: options_of(plugins.module(kind)) for plugins in (CONDITIONS, RECOVERIES, OBJECTIVES) for kind in plugins
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_every_field_has_a_description(fields):
    assert [key for key, _, _, description in rows_of(fields) if not description] == []


def test_the_page_has_every_key_and_kind():
    page = markdown()
    for key in (
        "`train.lora_r` | whole number | `8`",
        "`models.<name>.api`",
        "`pairs[].student`",
        "`hypotheses[].claim`",
    ):
        assert key in page
    for kind in (*CONDITIONS, *RECOVERIES, "sft_kl", "mmlu", "style"):
        assert f"`{kind}`" in page
    assert "| `select` | verifier, majority | `verifier` |" in page
    assert "| `direction` |" in page  # an option of an objective
    assert "| `models.<name>.hub` | text | one of organism, hub, path, gguf, trained_from, api |" in page
    assert "| `conditions.<name>.kind` | text | the name |" in page
    assert "| `prompts.n` | whole number or all | `all` |" in page
    assert [line for line in page.splitlines() if line.endswith("|  |")] == []  # Every option has a meaning.


def test_the_page_of_the_documentation_is_current():
    page = (EXPERIMENTS.parent / "docs" / "fields.md").read_text()
    assert page == f"{markdown().rstrip()}\n", "run: python -m orchestrator.plan.field_reference > docs/fields.md"


@pytest.mark.parametrize("text", [SMALL, *(path.read_text() for path in EXPERIMENTS.glob("*.yaml"))])
def test_the_json_schema_accepts_study_files(text):
    jsonschema.validate(yaml.safe_load(text), json_schema())


@pytest.mark.parametrize(
    "wrong", [{"sede": 1}, {"seeds": "all"}, {"models": {"student": {"hub": 1}}}, {"dtype": "bf16"}]
)
def test_the_json_schema_refuses_mistakes(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**yaml.safe_load(SMALL), **wrong}, json_schema())


def test_the_command_prints_the_json_schema(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["offmodel", "schema"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out) == json_schema()
