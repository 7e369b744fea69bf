"""Finds tasks of lm-eval, and refuses those that are not supported."""

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.lm_eval_tasks.task import GENERATES, TaskSampling

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

UNSUPPORTED = {
    "unsafe_code": "runs code that the model writes",
    "doc_to_image": "has images, which the engines do not support",
    "doc_to_audio": "has audio, which the engines do not support",
}


def check(name: str, sampling: TaskSampling) -> None:
    """Raise ValueError for a task that lm-eval does not have, that is not supported, or that does not take `sampling`.
    Loads no data set."""
    for index in [one.task_index for one in _folders(name) if name in one.task_index] or [whole().task_index]:
        if name not in index:
            raise _unknown(name, index)
        for task, config in _parts(name, index):
            why = [reason for key, reason in UNSUPPORTED.items() if config.get(key)]
            if config.get("output_type") == "loglikelihood_rolling":
                why.append("measures perplexity, and scores must be from 0 to 1")
            if any(isinstance(one, dict) and one.get("hf_evaluate") for one in config.get("metric_list") or ()):
                why.append("downloads and runs the code of its metric")
            if why:
                raise ValueError(f"lm_eval:{task} {' and '.join(why)}: choose another task")
            sampling.check(task, config.get("output_type", GENERATES), config.get("repeats", 1))


def check_name(name: str) -> None:
    """Raise ValueError for a name that no file of lm-eval's tasks has. Does not import lm-eval, and takes a second."""
    if next(_naming(name), None) is None:
        raise _unknown(name, [path.stem for path in _root().rglob("*yaml")])


def _unknown(name: str, names: Iterable[str]) -> ValueError:
    near = ", ".join(difflib.get_close_matches(name, names, 5)) or "unknown; `lm-eval ls tasks` lists all"
    return ValueError(f'lm-eval {version("lm_eval")} has no task "{name}"; the nearest are {near}')


@cache
def manager(name: str) -> "TaskManager":
    """An index of lm-eval that has this task, with all subtasks of a group or a tag."""
    return next((one for one in _folders(name) if name in one.all_subtasks), None) or whole()


@cache
def whole() -> "TaskManager":
    """lm-eval's index of all tasks, which takes ten seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _folders(name: str) -> "Iterator[TaskManager]":
    """An index of each folder with a file that names this task, which is much faster than an index of all."""
    from lm_eval import tasks

    for folder in _naming(name):
        yield tasks.TaskManager(include_path=folder, include_defaults=False)


def _naming(name: str) -> Iterator[Path]:
    """The folders with a file that names this task."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    for folder in sorted(_root().iterdir()):
        if any(word.search(path.read_text(errors="ignore")) for path in folder.rglob("*yaml")):
            yield folder


def _root() -> Path:
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tasks"


def _parts(name: str, index: dict[str, Any], settings: dict[str, Any] | None = None) -> Iterator[tuple[str, dict]]:
    """The tasks in a task, group or tag, with their configurations."""
    entry = index.get(name)
    config = {**((entry and entry.cfg) or {}), **(settings or {})}
    parts = config["task"] if isinstance(config.get("task"), list) else entry.tags if entry and not config else None
    if parts is None:
        yield name, config
    for part in parts or ():
        if isinstance(part, str):
            yield from _parts(part, index)
        else:
            yield from _parts(part.get("group") or part["task"], index, part)
