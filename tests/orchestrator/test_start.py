"""Commands that only read a study start fast and import no heavy library; a run says which cluster it cannot use."""

import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main

DEMO = str(Path(__file__).parents[2] / "experiments" / "demo.yaml")
HEAVY = {
    "datasets",
    "matplotlib",
    "mlflow",
    "openai",
    "peft",
    "ray",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
    "vllm",
}
BARE = "import pydantic, rich, yaml"
COMMAND = """
import atexit, sys
from orchestrator.cli import main
atexit.register(lambda: print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr))
main()
"""
# The bare imports take 0.08 to 0.12 s, so that this is about one second.
TIMES_BARE = 12


def python(code: str, *arguments: str) -> tuple[str, float]:
    """What a program prints to stderr, and its CPU seconds, which depend less on other work than wall time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout or code == BARE
    return done.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", ["plan", "explain", "conditions"])
def test_a_reading_command_starts_fast_and_without_heavy_libraries(name, tmp_path):
    arguments = (name,) if name == "conditions" else (name, DEMO, f"store={tmp_path / 'runs'}")
    loaded, command = python(COMMAND, *arguments)
    assert "orchestrator" in loaded.split()
    assert not HEAVY & set(loaded.split())
    for _ in range(3):  # Other work on the machine can slow down a single run.
        bare = python(BARE)[1]
        if command < TIMES_BARE * bare:
            return
        command = min(command, python(COMMAND, *arguments)[1])
    pytest.fail(f"{command:.2f} s, and the bare imports take {bare:.2f} s")


def test_the_module_of_the_command_can_be_run(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["offmodel", "--version"])
    monkeypatch.delitem(sys.modules, "orchestrator.cli", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("orchestrator.cli", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("offmodel ")


@pytest.mark.parametrize(("address", "variable"), [("ray://head:10001", None), ("auto", "ray://head:10001")])
def test_a_ray_client_is_refused_with_what_to_do(address, variable, monkeypatch, capsys):
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    monkeypatch.setattr(sys, "argv", ["offmodel", "run", DEMO, "--address", address])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "use --address auto on the cluster, from elsewhere by ray job submit" in capsys.readouterr().err
