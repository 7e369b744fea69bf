"""Provenance: the source of each value, as the study file states it."""

import pytest

from orchestrator.results import html
from orchestrator.study.provenance import COMMAND_LINE, NOT_STATED, stated
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError

SAID = "provenance={train: our choice, train.lora_r: follow-up, benchmarks.maths.n: paper, conditions: paper}"


def sources(study: Study) -> dict[str, str]:
    return {one.field: one.source for one in stated(study.provenance, study.model_dump(exclude_none=True))}


def test_the_longest_entry_counts_and_defaults_have_a_provenance(small):
    found = sources(small(SAID))
    assert found["train.lora_r"] == "follow-up"
    assert found["train.learning_rate"] == found["train.lora_alpha"] == "our choice"
    assert (found["benchmarks.maths.n"], found["benchmarks.facts.n"]) == ("paper", NOT_STATED)
    assert found["conditions.off-model.kind"] == "paper"
    assert not {name for name in found if name.startswith(("resources", "provenance", "store"))}


def test_items_of_a_list_are_fields(small):
    finding = (
        "{experiment: 1, source: ours, claim: c, compare: {condition: off-model, benchmark: maths}, expected: lower}"
    )
    study = small(f"hypotheses=[{finding}, {finding}]", "provenance={hypotheses: our reading, hypotheses.1: paper}")
    assert (sources(study)["hypotheses.0"], sources(study)["hypotheses.1"]) == ("our reading", "paper")
    assert sources(study)["seeds"] == NOT_STATED


def test_an_override_replaces_the_provenance(small):
    found = sources(small(SAID, "benchmarks.maths={kind: math500, source: synthetic, n: 3}", "train.lora_r=2"))
    assert found["benchmarks.maths.n"] == found["train.lora_r"] == COMMAND_LINE
    assert found["train.lora_alpha"] == "our choice"
    assert found["sampling.max_tokens"] == NOT_STATED


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("train.lora_rank: ours", 'provenance: "train.lora_rank".*train.lora_r'),
        ("store: ours", '"store"'),
        ("train: ''", "train"),
    ],
)
def test_provenance_of_an_unknown_field_is_refused(small, entry, said):
    with pytest.raises(StudyError, match=said):
        small(f"provenance={{{entry}}}")


def test_fields_of_api_models_are_not_fields_of_other_models(small):
    study = small("models.words={api: far, base_url: 'http://localhost/v1'}")
    found = {one.field: one.value for one in stated(study.provenance, study.model_dump(exclude_none=True))}
    assert found["models.words.base_url"] == "http://localhost/v1"
    assert not found.keys() & {"models.student.base_url", "models.student.revision", "models.words.revision"}
    assert Study.model_validate_json(study.model_dump_json()) == study
    assert "provenance" not in html._declared(small(SAID))
