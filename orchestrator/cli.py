"""The command `offmodel`."""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from orchestrator.plan.build import build_plan
from orchestrator.plan.trial import Plan
from orchestrator.store.store import Store, StoreError
from orchestrator.study.load import load_study, without_secrets
from orchestrator.study.settings import StudyError, study_errors

if TYPE_CHECKING:
    from orchestrator.results.report import Report

OVERRIDE_HELP = "override a field: key.subkey=value, the value in YAML (train.tuning=full, 'seeds=[1, 2, 3]')"
SKIPPED = "skipped"  # an example whose gold answer cannot be read
STAGE_HELP = "only stages whose address KIND/NAME-HASH contains this, as train/ or sample/qwen, with their settings"


def main() -> None:
    """Parse the command line and run a command.

    The exit status is 0 for success, 1 for failed trials and 2 for wrong input. It is 3 if all trials are done but not
    all are in MLflow. After a SIGINT or SIGTERM it is 128 and the signal's number.
    """
    parser = _parser()
    arguments, rest = parser.parse_known_args()
    for word in rest:  # argparse does not take overrides that follow an option.
        if word.startswith("-"):
            parser.error(f"there is no option {word}")
        if arguments.command in (*STUDYLESS, *JOBS):
            parser.error(f"{arguments.command} takes no arguments, not {word}")
    if rest:
        arguments.overrides = [*arguments.overrides, *rest]
    try:
        sys.exit(arguments.act(arguments, Console(highlight=False)))
    except (StudyError, StoreError) as error:
        Console(stderr=True, highlight=False).print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:  # The reader of the output has closed it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="offmodel",
        description="Fine-tuning studies: what SFT on another model's outputs does to a language model.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('offmodel')}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (act, text) in {**COMMANDS, **STUDYLESS, **JOBS}.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(act=act)
        if name in STUDYLESS:
            continue
        if name in (*JOBS, "submit"):
            command.add_argument("--address", required=True, help="the cluster's dashboard, as http://127.0.0.1:8265")
        if name in JOBS:
            command.add_argument("job", nargs="?" if name == "status" else None, help="the id that submit printed")
            continue
        if name == "submit":
            command.add_argument("--no-wait", action="store_true", help="end once the job is submitted")
        command.add_argument("study", help="a study file")
        if name == "plan":
            command.add_argument("--verbose", action="store_true", help="print all assumptions of the cost estimate")
            command.add_argument("--cluster", type=Path, metavar="FILE", help="a cluster.yaml: predict time and nodes")
        if name == "explain":
            command.add_argument("--stage", default="", metavar="KIND/NAME", help=STAGE_HELP)
            command.add_argument("--settings", action="store_true", help="print the study with all defaults filled in")
        if name == "run":
            command.add_argument("--address", type=_address, help="a Ray cluster (auto); a local Ray by default")
        if name == "ui":
            command.add_argument("--port", type=int, default=5000)
        if name == "serve":
            command.add_argument("--host", default="127.0.0.1", help="another address needs OFFMODEL_SERVE_KEY")
            command.add_argument("--port", type=int, default=8000)
        command.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=OVERRIDE_HELP)
    return parser


def _address(text: str) -> str:
    # Ray, too, prefers the variable to "auto".
    if "://" in (os.environ.get("RAY_ADDRESS", "") if text == "auto" else text):
        raise argparse.ArgumentTypeError(
            f"{text}: Ray Client (ray://) cannot run a study, since Ray Tune cannot reach its driver there; use "
            f"--address auto on the cluster, from elsewhere by ray job submit (docs/cluster.md)"
        )
    return text


def _plan(arguments: argparse.Namespace) -> tuple[Plan, Store]:
    study = load_study(arguments.study, arguments.overrides)
    with study_errors(arguments.study):
        plan = build_plan(study)
    return plan, Store(study.store)


def conditions_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.plan.catalogue import show

    try:
        show(console)
    except ValueError as error:
        raise StudyError(str(error)) from error
    return 0


def schema_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.plan.field_reference import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def plan_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.plan.files import local_benchmarks, mistakes_in_files, notes_on_skipped
    from orchestrator.plan.lengths import without_room
    from orchestrator.plan.overview import show_plan
    from orchestrator.plan.resources import needs_of, on_this_machine, too_little
    from orchestrator.plan.state import state_of
    from orchestrator.plan.unchecked import unchecked
    from orchestrator.plan.workload import beyond_the_data
    from orchestrator.run import preflight

    plan, store = _plan(arguments)
    with study_errors(arguments.study):
        mistakes = list(mistakes_in_files(plan.study))
        mistakes = mistakes or list(dict.fromkeys([*beyond_the_data(plan), *without_room(plan.stages, plan.study)]))
        if mistakes:
            raise StudyError("\n".join(mistakes))
        state = state_of(plan, store)
        preflight.check_local(plan, state.records)
    with study_errors():
        notes = notes_on_skipped(plan.study, local_benchmarks(plan.study))
        show_plan(console, plan, state, arguments.verbose, notes, arguments.cluster)
    pending = [stage for stage in plan.stages if stage not in state.records]
    for line in unchecked(pending, plan.study):
        console.print(line, markup=False, soft_wrap=True)
    for message in too_little(needs_of(pending, plan.study), on_this_machine(plan.study), plan.study):
        console.print(f"Note: a run on this machine is refused: {message}", markup=False, soft_wrap=True)
    for hypothesis in plan.study.hypotheses:
        of = "Expected" if hypothesis.experiment is None else f"Experiment {hypothesis.experiment} expects"
        expected = f"{of} {hypothesis.expected}: {hypothesis.claim} ({hypothesis.source})"
        console.print(expected, markup=False)
    return 0


def run_command(arguments: argparse.Namespace, console: Console) -> int:
    with _ended_by_signals():
        return _run(arguments, console)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGINT raise SystemExit, which ends the engines on a cluster."""
    received: list[int] = []

    def end(number: int, _: object) -> None:
        received.append(number)
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        if received:  # While Ray waits, it raises an exception of its own in place of the handler's.
            raise SystemExit(128 + received[0]) from None
        raise


def _run(arguments: argparse.Namespace, console: Console) -> int:
    began = time.time()
    from orchestrator.plan.overview import show_plan
    from orchestrator.plan.resources import gpu_memory, on_this_machine
    from orchestrator.plan.state import state_of
    from orchestrator.plan.work import expected_of, measured_speeds
    from orchestrator.run import preflight
    from orchestrator.run.driver import run_study
    from orchestrator.run.progress import Progress
    from orchestrator.run.summary import show_summary
    from orchestrator.run.tracking import Tracker

    plan, store = _plan(arguments)
    state = state_of(plan, store)
    notes = preflight.check(plan, store, state.records)
    pending = [stage for stage in plan.stages if stage not in state.records]
    if not arguments.address:
        preflight.check_resources(pending, plan.study, on_this_machine(plan.study))
        preflight.check_memory(pending, plan.study, gpu_memory())
    with study_errors():
        show_plan(console, plan, state, verbose=False, on_files=notes)
    left = Counter(stage.kind for stage in pending)
    tracker = Tracker(plan)
    tracker.start()
    expected = expected_of(pending, plan.study, measured_speeds(state.records, plan.study))
    with Progress(console, left, expected) if left else contextlib.nullcontext() as progress:
        outcome = run_study(plan, arguments.address, tracker, progress)
    _show_report(console, plan, outcome.report)
    show_summary(console, plan, outcome, began)
    missing = tracker.finish()
    if missing is not None:
        console.print(f"[yellow]MLflow:[/yellow] {escape(missing)}", soft_wrap=True)
    return 1 if outcome.report.results.unfinished else 3 if missing else 0


def serve_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.serving.serve import serve

    plan, store = _plan(arguments)
    serve(plan, store, arguments.host, arguments.port, console)
    return 0


def report_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.results.report import write_report

    plan, store = _plan(arguments)
    _show_report(console, plan, write_report(plan, store))
    return 0


def _show_report(console: Console, plan: Plan, report: "Report") -> None:
    from orchestrator.results.tables import show_results

    show_results(console, plan.study, report.results)
    page, *others = report.files
    beside = f" (beside it: {', '.join(others)})"
    console.print(f"Report: {report.location}/{page}{beside}", soft_wrap=True, markup=False)


def regrade_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.results.regrade import regrade

    plan, store = _plan(arguments)
    began, n, new, changes = time.time(), 0, 0, 0
    for one in regrade(plan, store):
        n += one.n
        new += one.changed is None
        for id, before, now in one.changed or ():
            changes += 1
            was, is_now = (SKIPPED if graded is None else f"score {graded.score:g}" for graded in (before, now))
            what = f"{was}, now {is_now}" if was != is_now else "same score, another verdict"
            console.print(f"{one.stage.address}: example {id}: {what}", soft_wrap=True, markup=False)
    if not n:
        raise StudyError("no completions of this study's benchmarks are in the store yet: run the study first")
    console.print(
        f"{n} examples graded again in {time.time() - began:.1f} s: {changes} grades differ from the stored ones; "
        f"{new} evaluations have no stored grades yet. Nothing was stored: only a run stores grades.",
        soft_wrap=True,
    )
    return 1 if changes else 0


def explain_command(arguments: argparse.Namespace, console: Console) -> int:
    import yaml

    from orchestrator.plan.explain import details, overview, with_defaults

    plan, store = _plan(arguments)
    if arguments.settings:
        print(yaml.safe_dump(with_defaults(plan.study), sort_keys=False, allow_unicode=True))
        return 0
    records = store.records(plan.stages)
    chosen = [stage for stage in plan.stages if arguments.stage in stage.address]
    if not chosen:
        kinds = ", ".join(f"{kind}/" for kind in dict.fromkeys(stage.kind for stage in plan.stages))
        raise StudyError(
            f'no stage has "{arguments.stage}" in its address: give a part of an address such as '
            f"{plan.stages[-1].address}, or one of {kinds}"
        )
    for line in (details if arguments.stage else overview)(chosen, records, store):
        console.print(line, soft_wrap=True, markup=False)
    return 0


def clean_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.store.clean import clean

    plan, store = _plan(arguments)
    removed = 0
    try:
        for path, gone in clean(store, store.records(plan.stages)):
            removed += gone
            console.print(f"{'removed' if gone else 'in use, left'}: {path}", soft_wrap=True, markup=False)
    except OSError as error:
        raise StudyError(f"{error}: let the owner of the files run this command") from error
    console.print(f"{removed} files and folders that unfinished attempts had left beside finished stages were removed.")
    return 0


def submit_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.jobs.commands import submit

    return submit(arguments.study, arguments.overrides, arguments.address, not arguments.no_wait, console)


def status_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.jobs.commands import status

    return status(arguments.job, arguments.address, console)


def logs_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.jobs.commands import logs

    return logs(arguments.job, arguments.address, console)


def stop_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.jobs.commands import stop

    return stop(arguments.job, arguments.address, console)


def ui_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.run.tracking import tracking_uri

    plan, _ = _plan(arguments)
    uri = tracking_uri(plan.study)
    if not uri.startswith("sqlite:"):
        console.print(f"This study is tracked at {without_secrets(uri)}", markup=False)
        return 0
    if not Path(uri.removeprefix("sqlite:///")).exists():
        raise StudyError(f"nothing has been tracked at {uri} yet: run the study first")
    console.print(f"MLflow at http://127.0.0.1:{arguments.port} (Ctrl-C ends it)")
    sys.stdout.flush()
    # The server takes the place of this process, so that it gets its signals. MLflow's jobs are of no use here.
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    os.execve(sys.executable, [*command, "--port", str(arguments.port)], {**os.environ, **settings})


Command = Callable[[argparse.Namespace, Console], int]
COMMANDS: dict[str, tuple[Command, str]] = {
    "run": (run_command, "run a study, or what is left of it"),
    "plan": (
        plan_command,
        "show what a run would do: GPUs, trials, stages, which are done, completions, tokens and costs",
    ),
    "explain": (explain_command, "say, field by field, why stages are not already done"),
    "report": (report_command, "show the results so far, and write the report"),
    "regrade": (regrade_command, "grade the stored completions again and list differences; calls no model"),
    "clean": (clean_command, "remove what unfinished attempts have left beside finished stages of a study"),
    "serve": (serve_command, "serve the models of a study and its trained students, OpenAI-compatible"),
    "submit": (submit_command, "run a study as a job on a Ray cluster, from another machine"),
    "ui": (ui_command, "open MLflow on the study's tracking store"),
}
STUDYLESS: dict[str, tuple[Command, str]] = {
    "conditions": (
        conditions_command,
        "list conditions, recoveries, objectives, measures and benchmarks, with options and sources",
    ),
    "schema": (schema_command, "print the JSON schema of study files, for editors (yaml-language-server)"),
}
JOBS: dict[str, tuple[Command, str]] = {
    "status": (status_command, "list the studies that were submitted to a Ray cluster, or show one"),
    "logs": (logs_command, "show and follow the output of a submitted study"),
    "stop": (stop_command, "stop a submitted study; submitted again, it continues"),
}

if __name__ == "__main__":
    main()
