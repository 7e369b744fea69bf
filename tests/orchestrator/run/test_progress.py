"""Wall time by kind of work, and the lines that a run prints."""

import io
import time
from collections import Counter

import pytest
from rich.console import Console

from orchestrator.plan.work import Expected
from orchestrator.run.event_log import Event, News
from orchestrator.run.progress import Progress, duration, time_split


@pytest.mark.parametrize(
    ("intervals", "split"),
    [
        ([], {"orchestration": 10}),
        ([("train", 2, 5)], {"train": 3, "orchestration": 7}),
        ([("train", 0, 10), ("sample", 0, 10)], {"train": 5, "sample": 5}),
        ([("train", 0, 6), ("sample", 4, 10)], {"train": 5, "sample": 5}),
        # Two of a kind at once count as one.
        ([("train", 0, 4), ("train", 0, 4), ("sample", 0, 4)], {"train": 2, "sample": 2, "orchestration": 6}),
        # Only the time within the run counts.
        ([("train", -5, 2), ("sample", 8, 20)], {"train": 2, "sample": 2, "orchestration": 6}),
        ([("a", 0, 9), ("b", 0, 9), ("c", 3, 6)], {"a": 4, "b": 4, "c": 1, "orchestration": 1}),
    ],
)
def test_kinds_share_the_time_and_idle_time_is_orchestration(intervals, split):
    assert time_split(intervals, 0, 10) == pytest.approx(split)


def test_the_parts_add_up_to_the_whole():
    intervals = [("abc"[i % 3], (7 * i) % 23 / 2, (7 * i) % 23 / 2 + i % 5) for i in range(40)]
    assert sum(time_split(intervals, 1.5, 9.25).values()) == pytest.approx(7.75)


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


def test_a_note_of_a_trial_is_printed():
    out = io.StringIO()
    with Progress(Console(file=out, width=30), Counter(train=1)) as progress:
        progress.update(News(events=[Event("note", 0.0, "", "trial", "one", "budget [8] is skipped: too few samples")]))
    assert "note budget [8] is skipped: too few samples" in out.getvalue()


def test_a_log_has_done_and_failed_stages():
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=False)

    def event(what, address, **more):
        return Event(what, 0.0, address, address.split("/")[0], "trial-1", **more)

    with Progress(console, Counter(train=3, evaluate=1)) as progress:
        progress.update(
            News(events=[event("started", "train/a"), event("started", "train/b"), event("started", "train/c")])
        )
        progress.update(News(events=[event("finished", "train/a", seconds=2.0, facts={"tokens": 5})]))
        progress.update(News(events=[event("failed", "train/b", message="no memory"), event("not run", "evaluate/b")]))
    text = out.getvalue()
    assert "failed train/b in trial-1: no memory" in text
    assert "not run trial-1: needs evaluate/b, which failed" in text
    assert "1 of 4 stages done, running train 1" in text
    assert "3 left" in text


@pytest.mark.parametrize("what", ["failed", "not run"])
def test_names_are_not_markup(what):
    out = io.StringIO()
    with Progress(Console(file=out, width=200), Counter(train=1)) as progress:
        progress.update(News(events=[Event(what, 0.0, "train/[/b]", "train", "one.[/i].two", "[red]no memory[/b]")]))
    assert "one.[/i].two" in out.getvalue()
    assert "train/[/b]" in out.getvalue()


def test_stages_that_wait_for_resources_are_not_running():
    out = io.StringIO()
    waiting = Event("waiting", time.time() - 360, "train/a", "train", "trial", "2 CPU, 1 GPU")
    soon = Event("waiting", time.time(), "train/b", "train", "trial", "2 CPU, 1 GPU")
    with Progress(Console(file=out, width=200, force_terminal=False), Counter(train=2)) as progress:
        progress.update(News(events=[soon]))
    assert "running nothing, waiting 1;" in out.getvalue()
    with Progress(Console(file=out, width=200, force_terminal=False), Counter(train=2)) as progress:
        progress.update(News(events=[waiting, soon]))
    assert "running nothing, waiting 2 (6 min 0 s for 2 CPU, 1 GPU);" in out.getvalue()
    with Progress(Console(file=out, width=200, force_terminal=False), Counter(train=2)) as progress:
        progress.update(News(events=[waiting, Event("started", time.time(), "train/a", "train", "trial")]))
    assert out.getvalue().count("running train 1;") == 1


def test_the_remaining_time_is_told_once_the_pace_is_known(monkeypatch):
    times, out = [0.0], io.StringIO()
    monkeypatch.setattr("orchestrator.run.progress.time.time", lambda: times[-1])
    stage = Expected(group=("training", "student"), seconds=1.0, speed=None)
    expected = {f"train/{name}": stage for name in "abc"}
    progress = Progress(Console(file=out, width=200), Counter(train=3), expected)

    def event(what, name, **more):
        return Event(what, 60.0, f"train/{name}", "train", "trial", **more)

    for now, what, share in ((59.0, event("finished", "a", seconds=30.0), 0.0), (75.0, event("started", "b"), 0.0),
                             (90.0, event("started", "b"), 0.75)):  # fmt: skip
        times.append(now)
        progress.update(News(events=[what], shares={"train/b": share}))
    first, second, third = out.getvalue().splitlines()
    assert first.endswith("2 left")
    assert second.endswith("2 left, about 1 min 40 s remaining")  # 60 s at 45 s of work in 75 s
    # b took 30 s for three quarters; a stage takes 34.3 s, of which 42.9 s are left, at 60 s of work in 90 s.
    assert third.endswith("2 left, about 1 min 4 s remaining")
