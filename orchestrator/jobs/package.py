"""What a job takes along: the study file and the local files that it names, and no other file."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.study.load import read_study, without_secrets
from orchestrator.study.settings import StudyError, is_local_file

STUDY = "study.yaml"  # the study file's name in the package
MOST_BYTES = 500 << 20  # Ray refuses larger packages


def pack(study: str | Path, overrides: Sequence[str], folder: Path) -> list[str]:
    """Copy a study file and the local files that it, or an override, names into an empty folder, at the paths where the
    study finds them from there. Returns the paths of these files. Raises StudyError for a file that the job would not
    find, and for a store that it would not share with this machine."""
    data = read_study(study, overrides)
    _check_secrets(overrides)
    _check_store(data.get("store"))
    named = dict(_local_files(data))
    total = 0
    for where, path in named.items():
        total += _check_file(where, path)
    if total > MOST_BYTES:
        raise StudyError(
            f"the files that the study names have {total / 1e6:,.0f} MB, and Ray takes {MOST_BYTES / 1e6:,.0f}: put "
            f"them into the bucket, and name them as s3://..."
        )
    shutil.copyfile(study, folder / STUDY)
    for path in dict.fromkeys(named.values()):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return list(dict.fromkeys(named.values()))


def _local_files(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """The place and the path of each file of rows that a study names."""
    if isinstance(value, str):
        if is_local_file(value):
            yield where, os.path.normpath(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _local_files(each, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for each in value:
            yield from _local_files(each, where)


def _check_file(where: str, path: str) -> int:
    """The bytes of a file that a job can take along."""
    if os.path.isabs(os.path.expanduser(path)) or path.startswith(".."):
        raise StudyError(
            f"{where}: {path} is not below the working directory, so the job would not find it: give a path relative "
            f"to the working directory, or a URI as s3://..."
        )
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise StudyError(f"{where}: {path} cannot be read ({error.strerror})") from error


def _check_secrets(overrides: Sequence[str]) -> None:
    for override in overrides:
        if without_secrets(override.partition("=")[2]) != override.partition("=")[2]:
            raise StudyError(
                f"{override.partition('=')[0]}: its URI has a user or a password, and the cluster's dashboard shows "
                f"the command of a job: give the nodes their rights by a role, or by the environment of Ray"
            )


def _check_store(store: Any) -> None:
    if not isinstance(store, str) or not ("://" in store or os.path.isabs(store)):
        raise StudyError(
            f"store: {store or 'runs'} would be a folder of the job, which ends with it: give a bucket, as "
            f"store=s3://BUCKET/runs, or the absolute path of a folder that all nodes share"
        )
