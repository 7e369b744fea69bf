"""What trials tell the board of a run, and what it tells them."""

from orchestrator.run.event_log import EventLog
from orchestrator.store.stage import Stage

STAGE = Stage("train", 1, "student", {"seed": 1})
OTHER = Stage("train", 1, "student", {"seed": 2})


def test_a_stage_that_failed_is_not_started_again_in_the_same_run():
    board = EventLog()
    assert board.start(STAGE, "one") is None
    assert board.failure(STAGE.address) is None
    board.fail(STAGE, "one", "no memory")
    assert board.failure(STAGE.address) == "no memory"
    assert board.start(STAGE, "two") == "no memory"
    assert board.start(OTHER, "two") is None
    assert [(event.what, event.address) for event in board.events(0)] == [
        ("started", STAGE.address),
        ("failed", STAGE.address),
        ("started", OTHER.address),
    ]


def test_events_are_told_from_where_the_reader_is():
    board = EventLog()
    board.start(STAGE, "one")
    board.finish(STAGE, "one", {"started": 5.0, "seconds": 2.0, "facts": {"tokens": 3}, "versions": {}})
    board.skip(OTHER, "two", "why")
    (finished, skipped) = board.events(1)
    assert (finished.what, finished.started, finished.seconds, finished.facts) == ("finished", 5.0, 2.0, {"tokens": 3})
    assert (skipped.what, skipped.trial, skipped.message) == ("not run", "two", "why")
    assert board.events(3) == []
