"""The command `offmodel`."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.plan.build import build_plan
from orchestrator.plan.trial import Plan
from orchestrator.results.report import Report
from orchestrator.store.store import Store, StoreError
from orchestrator.study.load import load_study, without_secrets
from orchestrator.study.settings import StudyError

OVERRIDE_HELP = "override a field: key.subkey=value, the value in YAML (train.method=full, 'seeds=[1, 2, 3]')"


def main() -> None:
    """Parse the command line and run a command; the exit status is 0, 1 for failed trials, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="offmodel",
        description="Studies of what it costs a language model to be trained on another model's words.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (act, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(act=act)
        command.add_argument("study", help="a study file")
        if name == "explain":
            command.add_argument("--stage", default="", help="only stages whose address contains this")
        if name == "run":
            command.add_argument("--address", help="a Ray cluster (auto, ray://host:port); a local Ray by default")
        if name == "ui":
            command.add_argument("--port", type=int, default=5000)
        command.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDE_HELP)
    text = "list the conditions and recoveries with their options and sources"
    command = commands.add_parser("conditions", help=text, description=text)
    command.set_defaults(act=conditions_command)
    arguments, rest = parser.parse_known_args()
    for word in rest:  # argparse does not take overrides that stand behind an option.
        if word.startswith("-"):
            parser.error(f"there is no option {word}")
    if rest and arguments.command == "conditions":
        parser.error(f"conditions takes no arguments, and {rest[0]} is one")
    if rest:
        arguments.overrides += rest
    try:
        sys.exit(arguments.act(arguments, Console(highlight=False)))
    except (StudyError, StoreError) as error:
        Console(stderr=True, highlight=False).print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:  # The reader of our output has gone: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _plan(arguments: argparse.Namespace) -> tuple[Plan, Store]:
    plan = build_plan(load_study(arguments.study, arguments.overrides))
    return plan, Store(plan.study.store)


def conditions_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.plan.catalogue import show

    show(console)
    return 0


def plan_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.plan.state import state_of

    plan, store = _plan(arguments)
    state = state_of(plan, store)
    _show_plan(console, plan, state)
    for finding in plan.study.hypotheses:
        console.print(f"Experiment {finding.experiment} expects {finding.expected}: {finding.claim}", markup=False)
    return 0


def _show_plan(console: Console, plan: Plan, state) -> None:
    from orchestrator.plan.gpu_hours import gpu_hours_of, lines
    from orchestrator.plan.workload import cost_of, most_to_run, stages_per_experiment

    study = plan.study
    console.print(
        f"[bold]{study.name}[/bold]: {len(plan.trials)} trials, {len(plan.trials) - len(state.pending)} done; "
        f"results in {without_secrets(study.store)}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("stage", "if not shared", "distinct", "done", "to run", "answers", "tokens at most"):
        table.add_column(title, justify="left" if title == "stage" else "right")
    count_without_sharing, distinct = plan.count_without_sharing(), Counter(stage.kind for stage in plan.stages)
    done = Counter(stage.kind for stage in state.records)
    for kind in distinct:
        pending = [stage for stage in plan.stages if stage.kind == kind and stage not in state.records]
        try:
            answers, tokens = cost_of(pending, study)
        except ValueError as error:
            raise StudyError(str(error)) from error
        table.add_row(
            kind,
            str(count_without_sharing[kind]),
            str(distinct[kind]),
            str(done[kind]),
            str(distinct[kind] - done[kind]),
            f"{answers:,}" if answers else "",
            f"{tokens:,}" if tokens else "",
        )
    console.print(table)
    if study.hypotheses:
        experiments, apart, together = stages_per_experiment(plan)
        console.print(
            f"The {experiments} experiments of its findings need {apart} stages by themselves, {together} together: "
            f"{1 - together / apart:.0%} fewer."
        )
    searched = [name for name, recovery in study.recoveries.items() if recovery.search is not None]
    if searched:
        most = most_to_run(plan, state.records)
        console.print(f"Budgets are searched ({', '.join(searched)}), so that at most {most} stages will run.")
    to_run = [stage for stage in plan.stages if stage not in state.records]
    for line in lines(gpu_hours_of(to_run, study), study):
        console.print(line, markup=False, soft_wrap=True)


def run_command(arguments: argparse.Namespace, console: Console) -> int:
    began = time.time()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that engines on a cluster are ended on the way out
    from orchestrator.plan.state import state_of
    from orchestrator.run import preflight
    from orchestrator.run.driver import run_study
    from orchestrator.run.progress import Progress
    from orchestrator.run.summary import show_account
    from orchestrator.run.tracking import Tracker

    plan, store = _plan(arguments)
    state = state_of(plan, store)
    preflight.check(plan, store, state.records)
    _show_plan(console, plan, state)
    left = Counter(stage.kind for stage in plan.stages if stage not in state.records)
    with Tracker(plan) as tracker, Progress(console, left) if left else contextlib.nullcontext() as progress:
        outcome = run_study(plan, arguments.address, tracker, progress)
    _show_report(console, plan, outcome.report)
    show_account(console, plan, outcome, began)
    return 1 if outcome.report.unfinished else 0


def report_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.results.report import write_report

    plan, store = _plan(arguments)
    _show_report(console, plan, write_report(plan, store))
    return 0


def _show_report(console: Console, plan: Plan, report: Report) -> None:
    from orchestrator.results.report import RESULTS
    from orchestrator.results.tables import show_results

    show_results(console, plan.study, json.loads(report.files[RESULTS]))
    console.print(f"Report: {', '.join(report.paths)}", soft_wrap=True, markup=False)


def regrade_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.results.regrade import regrade

    plan, store = _plan(arguments)
    began, n, new, changes = time.time(), 0, 0, 0
    for one in regrade(plan, store):
        n += one.n
        new += one.changed is None
        for before, now in one.changed or ():
            changes += 1
            what = f"score {before.score:g}, now {now.score:g}" if before.score != now.score else "same score, else not"
            console.print(f"{one.stage.address}: example {now.id}: {what}", soft_wrap=True)
    if not n:
        raise StudyError("no answers to this study's benchmarks are in the store yet: run the study first")
    console.print(
        f"{n} examples graded again in {time.time() - began:.1f} s: {changes} grades differ from the stored ones; "
        f"{new} evaluations have none yet. Nothing was stored: a run stores what is not there yet.",
        soft_wrap=True,
    )
    return 1 if changes else 0


def explain_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.plan.explain import explain

    plan, store = _plan(arguments)
    records = store.records(plan.stages)
    chosen = [stage for stage in plan.stages if arguments.stage in stage.address]
    if not chosen:
        raise StudyError(
            f'no stage of this study has "{arguments.stage}" in its address; offmodel plan lists the kinds'
        )
    for stage in chosen:
        if stage in records:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(records[stage]["started"]))
            console.print(f"[green]done[/green] {stage.address} (run {records[stage]['run']}, {when})", soft_wrap=True)
        elif any(needed not in records for needed in stage.inputs.values()) and not arguments.stage:
            console.print(f"[dim]not done {stage.address}: nor is all that it needs[/dim]", soft_wrap=True)
        else:
            console.print(f"[yellow]not done[/yellow] {stage.address}", soft_wrap=True)
            for line in explain(stage, store):
                console.print(f"  {line}", soft_wrap=True, markup=False)
    return 0


def ui_command(arguments: argparse.Namespace, console: Console) -> int:
    from orchestrator.run.tracking import tracking_uri

    plan, _ = _plan(arguments)
    uri = tracking_uri(plan.study)
    if not uri.startswith("sqlite:"):
        console.print(f"This study is tracked at {without_secrets(uri)}")
        return 0
    if not Path(uri.removeprefix("sqlite:///")).exists():
        raise StudyError(f"nothing has been tracked at {uri} yet: run the study first")
    console.print(f"MLflow at http://127.0.0.1:{arguments.port} (Ctrl-C ends it)")
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    return subprocess.run([*command, "--port", str(arguments.port)], check=False, env=quiet).returncode


COMMANDS = {
    "run": (run_command, "run a study, or what is left of it"),
    "plan": (plan_command, "show what a run would do: trials, stages, which are done, answers and tokens"),
    "explain": (explain_command, "say, field by field, why stages are not already done"),
    "report": (report_command, "show the results so far, and write the report"),
    "regrade": (regrade_command, "grade the stored answers again, without asking any model, and say what differs"),
    "ui": (ui_command, "open MLflow on the study's tracking store"),
}
