"""The event log of a run."""

from orchestrator.run.event_log import EventLog
from orchestrator.store.stage import Runtime, Stage

STAGE = Stage("train", 1, "student", {"seed": 1})
OTHER = Stage("train", 1, "student", {"seed": 2})


def test_failures_are_remembered_in_a_run():
    event_log = EventLog()
    event_log.start(STAGE, "one")
    assert event_log.failure(STAGE.address) is None
    event_log.fail(STAGE, "one", "no memory")
    assert event_log.failure(STAGE.address) == "no memory"
    assert event_log.failure(OTHER.address) is None
    assert [event.what for event in event_log.news(0).events] == ["started", "failed"]


def test_a_waiting_stage_says_for_what():
    event_log, runtime = EventLog(), Runtime(cpus=2, gpus=1)
    event_log.wait(Stage("train", 1, "student", {"seed": 1}, runtime=runtime), "one")
    (waiting,) = event_log.news(0).events
    assert (waiting.what, waiting.address, waiting.message) == ("waiting", STAGE.address, "2 CPU, 1 GPU")


def test_what_several_trials_find_is_noted_once():
    event_log = EventLog()
    for trial in ("one", "two"):
        event_log.note("budget 8 is skipped", trial)
    (noted,) = event_log.news(0).events
    assert (noted.what, noted.trial, noted.message) == ("note", "one", "budget 8 is skipped")


def test_events_are_read_from_an_index():
    event_log = EventLog()
    event_log.start(STAGE, "one")
    event_log.finish(STAGE, "one", {"started": 5.0, "seconds": 2.0, "facts": {"tokens": 3}, "versions": {}})
    event_log.skip(OTHER, "two", "why")
    (finished, skipped) = event_log.news(1).events
    assert (finished.what, finished.started, finished.seconds, finished.facts) == ("finished", 5.0, 2.0, {"tokens": 3})
    assert (skipped.what, skipped.trial, skipped.message) == ("not run", "two", "why")
    assert event_log.news(3).events == []
