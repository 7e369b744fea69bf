"""Every measurement runs in a small form."""

import subprocess
import sys

import pytest


def start(module: str, *arguments: str) -> str:
    """What `python -m perf.MODULE` prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"perf.{module}", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_scale():
    printed = start("scale", "20")
    assert printed.startswith("20 trials, ")
    assert [line.split(":")[0] for line in printed.splitlines()[1:]] == ["plan", "start Ray", "run", "cached re-run"]
