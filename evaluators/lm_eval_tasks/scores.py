"""The scores of examples, of all that lm-eval says of them."""

import math
from collections import defaultdict
from typing import Any

Metrics = dict[int, dict[str, float]]  # by the example's place in the data set


def scores(name: str, task: Any, samples: list[dict[str, Any]]) -> tuple[str, Metrics]:
    """The task's main metric, and each example's metrics that are numbers.

    The main metric is the first of the task's list, with its first filter, of which more is better and that is a number
    for every example. Raises ValueError where there is none, or where it is no share.
    """
    metrics: Metrics = defaultdict(dict)
    for sample in samples:
        for metric in sample["metrics"]:
            try:
                value = float(sample[metric])
            except (TypeError, ValueError):  # Some have a value only for all examples together.
                continue
            if math.isfinite(value):
                metrics[sample["doc_id"]][f"{metric},{sample['filter']}"] = value
    listed = [metric["metric"] for metric in task.get_config("metric_list") or ()]
    known = [metric.__name__ if callable(metric) else metric for metric in listed] + samples[0]["metrics"]
    better = [
        f"{metric},{samples[0]['filter']}" for metric in known if task.higher_is_better().get(metric) is not False
    ]
    main = next((key for key in better if all(key in metrics[sample["doc_id"]] for sample in samples)), None)
    if main is None:
        why = f"none of its metrics ({', '.join(samples[0]['metrics'])}) is one for each example"
    else:
        outside = [values[main] for values in metrics.values() if not 0 <= values[main] <= 1]
        if not outside:
            return main, metrics
        why = f"the metric {main} has values such as {outside[0]:g}"
    raise ValueError(f"lm_eval:{name}: offmodel compares shares of right answers, and {why}: choose another task")
