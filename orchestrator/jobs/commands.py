"""The commands for jobs. A job goes on when the command that submitted it ends."""

import shlex
import time
import uuid
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.jobs.client import connect, explained, follow
from orchestrator.jobs.package import STUDY, pack
from orchestrator.plan.build import build_plan
from orchestrator.study.load import load_study
from orchestrator.study.settings import StudyError, study_errors
from trainers.scratch import scratch_folder

OURS = "offmodel"  # in the metadata of a job: the study's name
EXIT = {"SUCCEEDED": 0, "FAILED": 1, "STOPPED": 130}


def submit(study: str, overrides: Sequence[str], address: str, wait: bool, console: Console) -> int:
    """Submit a study, and show its output until it has ended if `wait`. Returns an exit status."""
    declared = load_study(study, overrides)
    with study_errors(study):
        build_plan(declared)
    client = connect(address)
    command = ["offmodel", "run", STUDY, "--address", "auto", *overrides]
    with scratch_folder() as folder:
        files = pack(study, overrides, folder)
        with explained(address):
            id = client.submit_job(
                entrypoint=shlex.join(command),
                submission_id=f"{declared.name}-{uuid.uuid4().hex[:8]}",
                runtime_env={"working_dir": str(folder)},
                metadata={OURS: declared.name},
            )
    with_files = f" with {', '.join(files)}" if files else ""
    console.print(f"Submitted as {id}: {study}{with_files}", soft_wrap=True, markup=False)
    if not wait:
        console.print(_what_next(id, address), soft_wrap=True, markup=False)
        return 0
    return _show(client, id, address, console)


def _what_next(id: str, address: str) -> str:
    return (
        f"The job runs on without this terminal. offmodel logs {id} --address {address} shows its output, "
        f"and offmodel stop {id} --address {address} ends it; submitted again, it continues."
    )


def logs(id: str, address: str, console: Console) -> int:
    """Show a job's output from its beginning, and follow it to its end."""
    client = connect(address)
    with explained(address):
        client.get_job_status(id)
    return _show(client, id, address, console)


def _show(client: Any, id: str, address: str, console: Console) -> int:
    try:
        with explained(address):
            status = follow(client, id, lambda text: print(text, end="", flush=True))
            reason = _reason(client.get_job_info(id).message)
    except KeyboardInterrupt:
        console.print(f"\n{_what_next(id, address)}", soft_wrap=True, markup=False)
        return 130
    console.print(f"{id}: {status.lower()}{'' if status == 'SUCCEEDED' else f' ({reason})'}", markup=False)
    return EXIT[status]


def _reason(message: str | None) -> str:
    """Why a job has ended, from Ray's message, which repeats the end of the output."""
    reason = (message or "Ray gave no reason").partition(", last available logs")[0]
    if reason.endswith("exit code 127"):
        return f"{reason}: offmodel is not on the PATH of the cluster's head"
    return reason


def status(id: str | None, address: str, console: Console) -> int:
    """List the jobs that run studies, newest first; with an id that one, with its reason."""
    client = connect(address)
    with explained(address):
        jobs = [client.get_job_info(id)] if id else [job for job in client.list_jobs() if OURS in (job.metadata or {})]
    if not jobs:
        console.print(f"No study was submitted to {address}.", markup=False)
        return 0
    table = Table("job", "study", "status", "began", "took", box=None, pad_edge=False, header_style="bold")
    for job in sorted(jobs, key=lambda job: -(job.start_time or 0)):
        began, ended = (job.start_time or 0) / 1000, (job.end_time or 0) / 1000
        table.add_row(
            job.submission_id,
            (job.metadata or {}).get(OURS, ""),
            str(job.status.value).lower(),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(began)) if began else "",
            f"{((ended or time.time()) - began) / 60:,.0f} min" if began else "",
        )
    console.print(table)
    if id and jobs[0].message:
        console.print(_reason(jobs[0].message), soft_wrap=True, markup=False)
    return 0


def stop(id: str, address: str, console: Console) -> int:
    """End a job; its finished stages stay in the store."""
    client = connect(address)
    with explained(address):
        stopped = client.stop_job(id)
    if not stopped:
        raise StudyError(f"{id} does not run: offmodel status {id} --address {address} says how it has ended")
    console.print(f"{id} is being stopped. Submitted again, the study continues with what is left.", markup=False)
    return 0
