"""Every measurement runs in a small form."""

import re
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


@pytest.mark.slow
def test_kills():
    small = ["pairs.teachers=[number-words]", "prompts.n=64", "conditions={off-model: }", "recoveries={}", "seeds=[7]"]
    benchmarks = "benchmarks={maths: {kind: math500, source: synthetic, n: 20, max_tokens: 96}}"
    printed = start("kills", "1", *small, benchmarks)
    assert re.search(r"^killed \d+ processes with [1-9]", printed, re.MULTILINE)
    assert printed.endswith("the same stages, each executed once, and the same scores\n")
