"""Selects each task's main metric from lm-eval's metrics."""

import math
from collections import defaultdict
from itertools import chain
from statistics import fmean
from typing import Any

Metrics = dict[int, dict[str, float]]  # by the example's index in the data set


def scores(name: str, task: Any, evaluations: list[list[dict[str, Any]]]) -> tuple[str, Metrics]:
    """The task's main metric, and the numeric metrics of each example: means over `evaluations`, each with lm-eval's
    samples of all examples.

    The main metric is the first in the task's list, with its first filter, for which higher is better and every example
    has a number each time. Raises ValueError where there is none, or where its values are not in [0, 1].
    """
    samples = evaluations[0]
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in chain.from_iterable(evaluations):
        for metric in sample["metrics"]:
            try:
                value = float(sample[metric])
            except (TypeError, ValueError):  # Some metrics exist only for all examples together.
                continue
            if math.isfinite(value):
                found[sample["doc_id"]][f"{metric},{sample['filter']}"].append(value)
    metrics: Metrics = {
        sample["doc_id"]: {
            key: fmean(values) for key, values in found[sample["doc_id"]].items() if len(values) == len(evaluations)
        }
        for sample in samples
    }
    listed = [metric["metric"] for metric in task.get_config("metric_list") or ()]
    known = [metric.__name__ if callable(metric) else metric for metric in listed] + samples[0]["metrics"]
    better = [
        f"{metric},{samples[0]['filter']}" for metric in known if task.higher_is_better().get(metric) is not False
    ]
    main = next((key for key in better if all(key in metrics[sample["doc_id"]] for sample in samples)), None)
    if main is None:
        why = f"no metric ({', '.join(samples[0]['metrics'])}) has a value for each example"
    else:
        outside = [values[main] for values in metrics.values() if not 0 <= values[main] <= 1]
        if not outside:
            return main, metrics
        why = f"the metric {main} has values such as {outside[0]:g}"
    raise ValueError(f"lm_eval:{name}: scores must be from 0 to 1 for each example, but {why}: choose another task")
