"""Ray's job API (https://docs.ray.io/en/latest/cluster/running-applications/job-submission/sdk.html), with errors that
say what to do."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from evaluators.imports import IMPORTS
from orchestrator.study.settings import StudyError

CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)  # They log each upload and connection.
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Explain what Ray raises where a cluster does not answer, or refuses."""
    with IMPORTS:
        import requests
        from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise StudyError(_refused(address)) from error
    except (ConnectionError, requests.exceptions.RequestException) as error:
        message = str(error)
        if "401" in message or "403" in message or "Unauthorized" in message:
            raise StudyError(_refused(address)) from error
        raise StudyError(
            f"{address} does not answer: give the address of the cluster's dashboard, as http://127.0.0.1:8265 after "
            f"`ray dashboard cluster.yaml`"
        ) from error
    except RuntimeError as error:
        if "401" in str(error) or "403" in str(error):
            raise StudyError(_refused(address)) from error
        if "404" in str(error) or "does not exist" in str(error):
            raise StudyError(f"{address}: {_last_line(str(error))}: `offmodel status` lists the jobs") from error
        raise StudyError(f"{address}: {_last_line(str(error))}") from error


def _refused(address: str) -> str:
    return (
        f"{address} refuses this token: set RAY_AUTH_MODE=token, and have the cluster's token in ~/.ray/auth_token or "
        f"RAY_AUTH_TOKEN"
    )


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
