"""Ray's job API (https://docs.ray.io/en/latest/cluster/running-applications/job-submission/sdk.html), with errors that
say what to do."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from evaluators.imports import IMPORTS
from orchestrator.study.settings import StudyError

# They log each upload and connection.
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Explain what Ray raises where a cluster does not answer, or refuses."""
    with IMPORTS:
        import requests
        from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:  # for the statuses 401 and 403
        raise StudyError(
            f"{address} refuses this token: set RAY_AUTH_MODE=token, and have the cluster's token in ~/.ray/auth_token "
            f"or RAY_AUTH_TOKEN"
        ) from error
    except (ConnectionError, requests.exceptions.RequestException) as error:
        raise StudyError(
            f"{address} does not answer: give the address of the cluster's dashboard, as http://127.0.0.1:8265 after "
            f"`ray dashboard cluster.yaml`"
        ) from error
    except RuntimeError as error:
        text = str(error)
        hint = ": `offmodel status` lists the jobs" if "status code 404" in text or "does not exist" in text else ""
        raise StudyError(f"{address}: {_last_line(text)}{hint}") from error


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip() if text.strip() else "Ray gave no reason"


def connect(address: str) -> Any:
    """A JobSubmissionClient for the dashboard at an address, which has answered."""
    with IMPORTS:
        from ray.job_submission import JobSubmissionClient

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with explained(address):
        return JobSubmissionClient(address)


def follow(client: Any, id: str, show: Callable[[str], None]) -> str:
    """Pass a job's output on as it comes; returns the job's status when it has ended."""

    async def tail() -> None:
        async for text in client.tail_job_logs(id):
            show(text)

    while True:
        asyncio.run(tail())
        status = str(client.get_job_status(id).value)
        if status in ENDED:
            return status
