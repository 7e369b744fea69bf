"""Loads a task of lm-eval with its data set, or with rows that replace it."""

from typing import Any

import datasets
from jinja2 import TemplateError
from lm_eval.tasks._yaml_loader import load_yaml

from evaluators.lm_eval_tasks.index import check_replaceable, manager, shots_of
from evaluators.lm_eval_tasks.task import LmEvalTask
from evaluators.rows import read_rows

FEWSHOT_SEED = 1234  # lm-eval's default


def load(task: LmEvalTask) -> dict[str, Any]:
    """The task, or the tasks of a group, prepared as by lm-eval's `simple_evaluate`."""
    try:
        loaded = manager(task.name).load([task.name if task.rows is None else with_rows(task, task.rows)])
    except (OSError, RuntimeError, ImportError) as error:
        raise ValueError(f"lm_eval:{task.name}: its data set or a package is missing: {error}") from error
    except (LookupError, TypeError, AttributeError, TemplateError) as error:
        if task.rows is None:
            raise
        raise ValueError(
            f"{task.rows}: the rows do not have the schema of lm_eval:{task.name} ({type(error).__name__}: {error})"
        ) from error
    for name, one in loaded["tasks"].items():
        one.set_config("num_fewshot", shots_of(task.name, task.shots, one.get_config("num_fewshot")))
        task.sampling.check(name, one.OUTPUT_TYPE, one.get_config("repeats"))
    return loaded


def seed_few_shot(loaded: dict[str, Any]) -> None:
    """Make the tasks choose the same few-shot examples as lm-eval does, also another time."""
    for one in loaded["tasks"].values():
        one.set_fewshot_seed(FEWSHOT_SEED)


def with_rows(task: LmEvalTask, rows: str) -> dict[str, Any]:
    """The task's configuration with these rows as its data set. Raises ValueError where it needs more than rows."""
    check_replaceable(task.name, task.shots)
    config = load_yaml(manager(task.name).task_index[task.name].yaml_path)
    split = config.get("test_split") or config.get("validation_split")
    fewshot = dict(config.get("fewshot_config") or {})
    fewshot_split = fewshot.pop("split", None) or config.get("fewshot_split")
    data = datasets.Dataset.from_list(read_rows(rows, sha256=task.sha256))
    if not data:
        raise ValueError(f"{rows}: no rows")
    return config | {
        "custom_dataset": lambda **_: {split: data},
        "training_split": None,
        "validation_split": None if config.get("test_split") else split,
        "fewshot_split": split if fewshot_split == split else None,
        "fewshot_config": fewshot or None,
    }
