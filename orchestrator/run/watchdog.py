"""The watchdog of a run: a detached actor that ends with it, after it has removed what a lost driver leaves."""

import threading
import time

from orchestrator.run.demand import withdraw
from orchestrator.run.engine_lifetime import NAMESPACE, ON_HEAD, alive, delete_applications

LOOK_SECONDS = 1.0  # between two looks at whether the run is alive


class Watchdog:
    """Deletes the run's applications, and what it asks of the autoscaler."""

    def __init__(self, run: str):
        threading.Thread(target=self._watch, args=(run,), daemon=True).start()

    def _watch(self, run: str) -> None:
        import ray

        while run in alive():
            time.sleep(LOOK_SECONDS)
        try:
            withdraw(run)
            delete_applications(run)
        finally:
            ray.kill(ray.get_actor(_watchdog(run), NAMESPACE))


def _watchdog(run: str) -> str:
    return f"watchdog-{run}"


def start_watchdog(run: str) -> None:
    import ray

    options = {"lifetime": "detached", "name": _watchdog(run), "namespace": NAMESPACE, "max_restarts": -1}
    ray.remote(Watchdog).options(num_cpus=0, resources=ON_HEAD, **options).remote(run)
