"""Warnings about stages that do not belong together."""

import pytest

from orchestrator.results.consistency import warnings_of
from orchestrator.store.context import StageContext, digest
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store

BASE = Stage("model", 1, "base", {"seed": 1})
SAMPLE = Stage("sample", 1, "answers", {"seed": 1}, {"base": BASE})


@pytest.fixture
def records(tmp_path):
    """The records of a model and of a sample of it, as stages leave them."""
    store = Store(str(tmp_path))
    for stage, content in ((BASE, b"weights"), (SAMPLE, b"answers")):
        out = store.new_folder(stage, "one")
        (out / "file").write_bytes(content)
        StageContext(stage, store, out, None).publish(stage, out, "one", 0.0, {})
    return store.records([BASE, SAMPLE])


def test_stages_that_belong_together_give_no_warning(records):
    assert list(warnings_of(records)) == []
    assert {"torch", "transformers"} <= set(records[SAMPLE]["versions"])


def test_mixed_versions_of_a_library_are_named_with_their_stages(records):
    records[BASE]["versions"] = {**records[BASE]["versions"], "vllm": "0.28.0"}
    records[SAMPLE]["versions"] = {**records[SAMPLE]["versions"], "vllm": "0.29.0"}
    (warning,) = warnings_of(records)
    assert "several versions of vllm: 0.28.0 (1 stages), 0.29.0 (1 stages)" in warning


def test_a_version_that_only_some_stages_need_is_no_mixture(records):
    records[BASE]["versions"] = {**records[BASE]["versions"], "vllm": "0.29.0"}
    records[SAMPLE]["versions"] = {k: v for k, v in records[SAMPLE]["versions"].items() if k != "vllm"}
    assert list(warnings_of(records)) == []


def test_a_result_of_a_result_that_was_replaced_is_named(records):
    assert records[SAMPLE]["used"] == {"base": digest(records[BASE])}
    records[BASE]["files"] = {"file": {"bytes": 7, "sha256": "other"}}
    (warning,) = warnings_of(records)
    assert warning.startswith(f"{SAMPLE.address} was computed from an earlier result of {BASE.address}")
