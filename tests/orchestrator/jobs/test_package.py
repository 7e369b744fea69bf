"""What a job takes along to a cluster."""

import pytest
import yaml

from orchestrator.jobs.package import MOST_BYTES, STUDY, pack
from orchestrator.study.load import load_study
from orchestrator.study.settings import StudyError
from tests.conftest import SMALL


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory with a study that names files of rows, and files that it does not name."""
    folder = tmp_path / "desk"
    (folder / "rows").mkdir(parents=True)
    for name in ("rows/prompts.jsonl", "rows/maths.jsonl", "rows/other.jsonl", "notes.txt"):
        (folder / name).write_text(f'{{"instruction": "{name}"}}\n')
    study = yaml.safe_load(SMALL) | {"store": "s3://bucket/runs"}
    study["prompts"] = {"source": "rows/prompts.jsonl"}
    (folder / "small.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    monkeypatch.chdir(folder)
    return folder


def packed(tmp_path, *overrides: str):
    target = tmp_path / "package"
    target.mkdir(exist_ok=True)
    return target, pack("small.yaml", overrides, target)


def test_a_package_has_the_study_and_the_files_that_it_names(desk, tmp_path):
    target, files = packed(tmp_path, "benchmarks.maths.source=./rows/maths.jsonl")
    assert files == ["rows/prompts.jsonl", "rows/maths.jsonl"]
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {STUDY, "rows/prompts.jsonl", "rows/maths.jsonl"}
    assert (target / STUDY).read_bytes() == (desk / "small.yaml").read_bytes()


@pytest.mark.usefixtures("desk")
def test_the_packed_study_finds_its_files(tmp_path, monkeypatch):
    target, _ = packed(tmp_path)
    monkeypatch.chdir(target)
    assert load_study(STUDY).prompts.source == str(target / "rows/prompts.jsonl")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prompts.source=../far.jsonl", "prompts.source: ../far.jsonl is not below the working directory"),
        ("prompts.source=/data/far.jsonl", "prompts.source: /data/far.jsonl is not below the working directory"),
        ("prompts.source=rows/none.jsonl", "prompts.source: rows/none.jsonl cannot be read (No such file"),
        ("store=runs", "store: runs would be a folder of the job"),
        ("store=s3://me:secret@host/runs", "store: its URI has a user or a password, and the cluster's dashboard"),
    ],
)
@pytest.mark.usefixtures("desk")
def test_what_a_job_would_not_find_or_should_not_show_is_refused(tmp_path, override, message):
    with pytest.raises(StudyError) as raised:
        packed(tmp_path, override)
    assert str(raised.value).startswith(message)
    assert "secret" not in str(raised.value)


@pytest.mark.usefixtures("desk")
def test_a_study_without_a_store_is_refused(tmp_path):
    with pytest.raises(StudyError, match="store: runs would be a folder of the job"):
        packed(tmp_path, "store=null")


def test_files_that_ray_does_not_take_are_refused(desk, tmp_path):
    with (desk / "rows" / "prompts.jsonl").open("ab") as file:
        file.truncate(MOST_BYTES + 1)  # a sparse file
    with pytest.raises(StudyError, match="put them into the bucket"):
        packed(tmp_path)
