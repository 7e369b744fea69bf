"""deploy/slurm.sh: its options are read by sbatch where Slurm is installed, and the script runs with stand-ins of Slurm
and Ray. docs/cluster.md says what was tried on a real Slurm."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm.sh"
# A cluster that no machine serves: sbatch reads a script's options before it asks the controller.
CONFIG = """
ClusterName=none
SlurmctldHost=localhost
SlurmctldPort=1
AuthType=auth/none
MessageTimeout=1
GresTypes=gpu
NodeName=one
PartitionName=all Nodes=one Default=YES
"""
# srun drops its own options. Ray runs what follows its own. Both record their arguments.
STAND_INS = {
    "srun": 'echo "srun $*" >> "$CALLS"\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"',
    "ray": 'echo "ray $*" >> "$CALLS"\n[[ $1 == symmetric-run ]] || exit 0\n[[ -z ${NO_RAY:-} ]] || exit 0\n'
    'while [[ $1 != -- ]]; do shift; done\nshift\n"$@"',
    "offmodel": 'echo "offmodel $*" >> "$CALLS"\nsleep "${SECONDS_OF_STUDY:-0}"\nexit "${STATUS:-0}"',
    "scontrol": 'echo "scontrol $*" >> "$CALLS"',
    "hostname": "echo 10.0.0.7 172.17.0.1",
}

needs_slurm = pytest.mark.skipif(shutil.which("sbatch") is None, reason="needs the package slurm-client")


def read_by_sbatch(script: Path, folder: Path) -> str:
    """What sbatch says about a script. It ends at the first wrong option, or where it needs a controller."""
    (folder / "slurm.conf").write_text(CONFIG)
    command = ["sbatch", "--test-only", script, "study.yaml"]
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    found = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)
    assert found.returncode != 0
    return found.stderr


@needs_slurm
def test_sbatch_knows_every_option(tmp_path):
    assert "Unable to contact slurm controller" in read_by_sbatch(SCRIPT, tmp_path)


@needs_slurm
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("--requeue", "--requeues", "unrecognized option '--requeues'"),
        ("--signal=B:USR1@300", "--signal=B:USR9@300", "Invalid --signal"),
        ("--gpus-per-node=1", "--gres=gpus:1", "Invalid generic resource"),
    ],
)
def test_sbatch_refuses_a_wrong_option(tmp_path, right, wrong, said):
    script = tmp_path / "wrong.sh"
    script.write_text(SCRIPT.read_text().replace(f"#SBATCH {right}\n", f"#SBATCH {wrong}\n"))
    assert script.read_text() != SCRIPT.read_text()
    assert said in read_by_sbatch(script, tmp_path)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs the package shellcheck")
def test_shellcheck_finds_nothing():
    found = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.fixture
def job(tmp_path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the script as the job of two machines, with stand-ins; they write to `calls` in the same folder."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    for name, text in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "calls").touch()

    def start(**environment: str) -> subprocess.Popen[str]:
        slurm = {"SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "42"}
        own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "CALLS": str(tmp_path / "calls")}
        return subprocess.Popen(
            ["bash", SCRIPT, "my study.yaml", "store=/shared/runs", "seeds=[1, 2]"],
            cwd=tmp_path,
            env=own | slurm | environment,
            text=True,
        )

    return start


def test_a_ray_node_on_each_machine_runs_the_study_once(job, tmp_path):
    assert job().wait(timeout=60) == 0
    token, *stop, srun, ray, study = (tmp_path / "calls").read_text().splitlines()
    assert token == "ray get-auth-token --generate"
    assert stop == ["srun ray stop --force", "ray stop --force"]
    assert srun.startswith("srun --cpus-per-task=8 ")
    assert ray.startswith("ray symmetric-run --address=10.0.0.7:6379 --min-nodes=2 --num-cpus=8 -- ")
    assert study == "offmodel run my study.yaml store=/shared/runs seeds=[1, 2] --address auto"


def test_a_token_that_exists_is_used(job, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert job().wait(timeout=60) == 0
    assert "get-auth-token" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize("status", [1, 3])
def test_the_job_ends_with_the_studys_status(job, status):
    assert job(STATUS=str(status)).wait(timeout=60) == status


def test_a_job_whose_ray_does_not_start_fails(job):
    assert job(NO_RAY="1").wait(timeout=60) == 1


def test_a_job_near_its_time_limit_is_queued_again_and_waits_for_its_end(job, tmp_path):
    started = job(SECONDS_OF_STUDY="2")
    calls = tmp_path / "calls"
    until = time.monotonic() + 60
    while "\noffmodel run" not in calls.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    started.send_signal(signal.SIGUSR1)
    assert started.wait(timeout=60) == 0
    assert calls.read_text().splitlines()[-1] == "scontrol requeue 42"
