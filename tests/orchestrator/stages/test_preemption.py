"""Notices that a process is about to be taken away."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import ray

from orchestrator.stages.preemption import PreemptionNotice

WORKER = """
import os, signal
from orchestrator.stages.preemption import PreemptionNotice
with PreemptionNotice() as notice:
    os.kill(os.getpid(), signal.SIGTERM)
    print("saved", notice.requested(), flush=True)
    notice.exit_if_requested()
    print("not reached", flush=True)
"""


@pytest.fixture(autouse=True)
def taken_by_nobody():
    """A handler of SIGTERM that is there before the notice, and does not end the tests."""

    def handler(*_):
        raise AssertionError("nobody took the SIGTERM")

    before = signal.signal(signal.SIGTERM, handler)
    yield handler
    signal.signal(signal.SIGTERM, before)


def test_a_sigterm_gives_notice_and_ends_the_process_when_it_is_obeyed():
    with PreemptionNotice() as notice:
        notice.exit_if_requested()
        assert not notice.requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert notice.requested()
        with pytest.raises(SystemExit) as ended:
            notice.exit_if_requested()
        assert ended.value.code == 143


def test_a_second_sigterm_ends_the_process_at_once():
    with PreemptionNotice() as notice:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGTERM)
        assert ended.value.code == 143
        assert notice.requested()


def test_whoever_took_sigterms_before_takes_them_afterwards(taken_by_nobody):
    with PreemptionNotice():
        assert signal.getsignal(signal.SIGTERM) is not taken_by_nobody
    assert signal.getsignal(signal.SIGTERM) is taken_by_nobody


def test_outside_of_the_main_thread_no_sigterm_is_taken(taken_by_nobody):
    seen = []

    def work():
        with PreemptionNotice() as notice:
            seen.append((signal.getsignal(signal.SIGTERM), notice.requested()))
            notice.exit_if_requested()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(taken_by_nobody, False)]
    assert signal.getsignal(signal.SIGTERM) is taken_by_nobody


def test_a_process_that_was_told_to_end_ends_as_one():
    worker = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=False, timeout=60)
    assert (worker.returncode, worker.stdout) == (128 + signal.SIGTERM, "saved True\n"), worker.stderr


@pytest.mark.parametrize(("drained", "requested"), [("here", True), ("elsewhere", False)])
def test_draining_this_node_requests_preemption_and_ends_no_process(monkeypatch, intervals, drained, requested):
    class Context:
        def get_node_id(self) -> str:
            return "here"

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", lambda: {drained: 0})
    with PreemptionNotice(intervals.wait) as notice:
        assert not notice.requested()
        intervals.end()
        if requested:
            assert notice._requested.wait(60)
        else:
            intervals.end_and_work()  # It keeps polling.
            assert not notice.requested()
        notice.exit_if_requested()
