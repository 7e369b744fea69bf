"""Scratch folders of processes that were killed are removed, and no others."""

import os
import signal
import subprocess
import sys

from trainers.process_identity import process_started
from trainers.scratch import remove_abandoned, scratch_folder

MAKE = """
import sys, time
from pathlib import Path
from trainers.scratch import new_scratch_folder
folder = new_scratch_folder(Path(sys.argv[1]))
(folder / "state").write_text("half")
print(folder, flush=True)
time.sleep(600)
"""


def started_process(parent) -> tuple[subprocess.Popen, str]:
    """A process that has made a scratch folder, and the folder."""
    process = subprocess.Popen([sys.executable, "-c", MAKE, str(parent)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_the_folders_of_killed_processes_are_removed_and_no_others(tmp_path):
    (tmp_path / "offmodel-report").mkdir()
    with scratch_folder(tmp_path) as own:
        (killed, abandoned), (living, used) = started_process(tmp_path), started_process(tmp_path)
        try:
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            assert os.path.isdir(abandoned)
            remove_abandoned.cache_clear()
            remove_abandoned(tmp_path)
            assert sorted(map(str, tmp_path.iterdir())) == sorted([str(own), used, str(tmp_path / "offmodel-report")])
            assert os.path.isfile(f"{used}/state")
        finally:
            living.kill()
            living.wait()
    assert not own.exists()


def test_a_process_that_reuses_a_number_is_another_one(tmp_path):
    with scratch_folder(tmp_path) as own:
        started = str(process_started(os.getpid()))
        earlier = own.rename(own.with_name(own.name.replace(f"-{started}-", f"-{int(started) - 1}-")))
        remove_abandoned.cache_clear()
        remove_abandoned(tmp_path)
        assert not earlier.exists()
