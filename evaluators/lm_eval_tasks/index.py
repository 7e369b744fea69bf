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
    "unsafe_code": "runs code that the model writes, which is not supported",
    "doc_to_image": "has images, which the engines do not support",
    "doc_to_audio": "has audio, which the engines do not support",
}
MAX_TOKENS = 256  # lm-eval's default for tasks without a limit
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # names of the limit, by precedence
NAME = re.compile(r"^(?:task|group|tag): *[\"']?([\w-]+)[\"']?\s*$", re.MULTILINE)


def check(name: str, sampling: TaskSampling, shots: int | None = None) -> None:
    """Raise ValueError for a task that lm-eval does not have, that is not supported, that does not take `sampling`, or
    that takes no few-shot examples, if `shots` are given. Loads no data set."""
    if not _naming(name):  # Most misspelt names are in no file, which takes a second to see.
        raise _unknown(name, {found for path in _root().rglob("*yaml") for found in NAME.findall(_text(path))})
    for task, config in _tasks(name):
        why = [reason for key, reason in UNSUPPORTED.items() if config.get(key)]
        if config.get("output_type") == "loglikelihood_rolling":
            why.append("measures perplexity, and scores must be from 0 to 1")
        if any(isinstance(one, dict) and one.get("hf_evaluate") for one in config.get("metric_list") or ()):
            why.append("downloads and runs the code of its metric")
        if (config.get("generation_kwargs") or {}).get("num_beams", 1) != 1:
            why.append("needs beam search, which the engines do not support")
        if why:
            raise ValueError(f"lm_eval:{task} {' and '.join(why)}: choose another task")
        sampling.check(task, config.get("output_type", GENERATES), config.get("repeats", 1))
        shots_of(task, shots, config.get("num_fewshot"))


def longest(name: str) -> int:
    """The most tokens that a task itself sets for a completion; 0 for a task that compares given options."""
    lengths = [0]
    for _, config in _tasks(name):
        if config.get("output_type", GENERATES) == GENERATES and "class" not in config:
            limits = [(config.get("generation_kwargs") or {}).get(key) for key in LIMITS]
            lengths.append(next((int(limit) for limit in limits if limit is not None), MAX_TOKENS))
    return max(lengths)


def check_replaceable(name: str, shots: int | None) -> None:
    """Raise ValueError for a task whose data set rows cannot replace: a group, and one that takes its few-shot examples
    from another split."""
    entry = _indices(name)[0][name]
    if entry.kind.name != "TASK":
        kind = entry.kind.name.lower()
        raise ValueError(f"lm_eval:{name} is a {kind}, whose data sets rows cannot replace: name one of its tasks")
    config = entry.cfg
    split, fewshot = config.get("test_split") or config.get("validation_split"), config.get("fewshot_config") or {}
    shots = shots_of(name, shots, config.get("num_fewshot"))
    if shots and (fewshot.get("split") or config.get("fewshot_split")) != split and not fewshot.get("samples"):
        raise ValueError(
            f"lm_eval:{name} takes its {shots} few-shot examples from another split, which rows do not have: set "
            f"shots to 0, or use the task's own data set"
        )


def shots_of(name: str, given: int | None, default: int | None) -> int:
    """The number of few-shot examples: as given, else the task's own. Raises ValueError where it supports none."""
    if default == 0 and given:
        raise ValueError(f"lm_eval:{name} does not support few-shot examples: remove shots")
    return default or 0 if given is None else given


def _tasks(name: str) -> Iterator[tuple[str, dict]]:
    """The tasks in a task, group or tag, with their configurations. Raises ValueError for a name that there is not."""
    for index in _indices(name):
        yield from _parts(name, index)


def _indices(name: str) -> list[dict[str, Any]]:
    """The indices that have a task, group or tag. Raises ValueError for a name that there is not."""
    indices = [one.task_index for one in _folders(name) if name in one.task_index] or [whole().task_index]
    if name not in indices[0]:
        raise _unknown(name, indices[0])
    return indices


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
    yield from map(_of_folder, _naming(name))


@cache
def _of_folder(folder: Path) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=folder, include_defaults=False)


@cache
def _naming(name: str) -> tuple[Path, ...]:
    """The folders with a file that names this task."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    folders = sorted(_root().iterdir())
    return tuple(one for one in folders if any(word.search(_text(path)) for path in one.rglob("*yaml")))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore")


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
