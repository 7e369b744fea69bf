"""The shipped study files: each is planned without the hub, and its values have a provenance."""

import re
from pathlib import Path

import pytest
import yaml

from evaluators import rows
from orchestrator.plan.build import build_plan
from orchestrator.plan.explain import with_defaults
from orchestrator.plan.gpu_hours import gpu_hours_of, lines
from orchestrator.stages import data
from orchestrator.study.load import load_study
from orchestrator.study.models import OrganismModel
from orchestrator.study.provenance import NOT_STATED, stated
from tests.conftest import EXPERIMENTS

FILES = sorted(EXPERIMENTS.glob("*.yaml"))
# All that is known of the post's set-up: what else is said to come from it is a mistake.
POST = (
    r"prompts\.source|train\.tuning|train\.objective\.kind|benchmarks\.(instructions|facts|maths)\.(kind|n)|"
    r"benchmarks\.olympiads\.n|benchmarks\.facts\.max_tokens|conditions\.off-model\.kind|"
    r"recoveries\.on-model samples.*\.kind|conditions\.full weights\.train\.tuning|conditions\.outputs only\..*"
)


# All that is known of the post's results, by experiment: what is expected, and compared with what.
LOSS, NONE, RESTORED = ("lower", "untrained"), ("same", "untrained"), ("higher", None)
DIRECTIONS = {
    1: {LOSS, NONE},
    6: {RESTORED},
    7: {RESTORED},
    8: {NONE},
    9: {NONE},
    10: {RESTORED},
    11: {RESTORED, LOSS},  # a part is restored
    12: {RESTORED},
    13: {NONE},
    14: {LOSS},
    15: {LOSS, ("same", None)},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    read = rows.read_rows

    def of_files(source: str, *place, **expected):
        assert Path(source).exists(), f"{source} would come from the hub"
        return read(source, *place, **expected)

    monkeypatch.setattr(data, "read_rows", of_files)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_study_is_planned_and_its_costs_estimated_without_the_hub(path):
    study = load_study(path)
    plan = build_plan(study)
    bill = gpu_hours_of(plan.stages, study)
    assert not bill.unpriced
    real = [model for model in study.models.values() if not isinstance(model, OrganismModel)]
    assert bool(list(lines(bill, study))) == bool(real)
    if not real:
        return
    assert sum(bill.hours.values()) > 0
    assert bill.tokens.keys() == {alias for alias, model in study.models.items() if model.served}
    assert [
        one.field for one in stated(study.provenance, study.model_dump(exclude_none=True)) if one.source == NOT_STATED
    ] == []
    assert [
        one
        for one in stated(study.provenance, study.model_dump(exclude_none=True))
        if one.source.startswith("post") and not re.fullmatch(POST, one.field)
    ] == []
    known = {f"{pair}" for pair in study.pair_list}
    assert {f"{trial.student} / {trial.teacher}" for trial in plan.trials} == known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_what_the_post_says_is_said_to_be_the_posts(path):
    for one in load_study(path).hypotheses:
        versus = "untrained" if one.versus.condition == "untrained" else None
        if one.source == "post":
            assert (one.expected, versus) in DIRECTIONS.get(one.experiment, set()), one.claim
        assert one.source != "follow-up" or one.compare.recovery, "reminder training is a second training"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_with_all_defaults_filled_in_is_the_same_study(path, tmp_path):
    study = load_study(path, ["benchmarks.maths.n=all"] if "offmodel-grid" in path.stem else [])
    filled = tmp_path / "filled.yaml"
    filled.write_text(yaml.safe_dump(with_defaults(study), sort_keys=False))
    again = load_study(filled)
    assert again.store == study.store
    assert build_plan(again).stages == build_plan(study).stages


def test_the_study_of_full_weights_reuses_the_students_of_the_grid():
    full, grid = (
        build_plan(load_study(EXPERIMENTS / f"offmodel-{name}.yaml")).stages for name in ("full-weights", "grid")
    )
    of_the_grid = {stage.fingerprint for stage in grid}
    new = [stage for stage in full if stage.fingerprint not in of_the_grid and stage.kind == "train"]
    assert len(new) == 2 * 2 * 3
    assert {stage.settings.leaves_adapter for stage in new} == {False}
