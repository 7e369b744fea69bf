"""The event log of a run."""

from orchestrator.run.event_log import EventLog
from orchestrator.store.stage import Stage

STAGE = Stage("train", 1, "student", {"seed": 1})
OTHER = Stage("train", 1, "student", {"seed": 2})


def test_a_stage_that_failed_is_not_started_again_in_the_same_run():
    event_log = EventLog()
    assert event_log.start(STAGE, "one") is None
    assert event_log.failure(STAGE.address) is None
    event_log.fail(STAGE, "one", "no memory")
    assert event_log.failure(STAGE.address) == "no memory"
    assert event_log.start(STAGE, "two") == "no memory"
    assert event_log.start(OTHER, "two") is None
    assert [(event.what, event.address) for event in event_log.events(0)] == [
        ("started", STAGE.address),
        ("failed", STAGE.address),
        ("started", OTHER.address),
    ]


def test_events_are_read_from_an_index():
    event_log = EventLog()
    event_log.start(STAGE, "one")
    event_log.finish(STAGE, "one", {"started": 5.0, "seconds": 2.0, "facts": {"tokens": 3}, "versions": {}})
    event_log.skip(OTHER, "two", "why")
    (finished, skipped) = event_log.events(1)
    assert (finished.what, finished.started, finished.seconds, finished.facts) == ("finished", 5.0, 2.0, {"tokens": 3})
    assert (skipped.what, skipped.trial, skipped.message) == ("not run", "two", "why")
    assert event_log.events(3) == []
