"""An interrupted training resumes from its last saved state and ends with the same weights, bit for bit."""

import itertools
import json
import multiprocessing
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from organisms import shipped, world
from trainers import loop, state
from trainers.disk import DiskFull
from trainers.job import Callbacks, TrainJob
from trainers.loop import train
from trainers.settings import Lora, TrainSettings

CHECKPOINT = str(shipped.FOLDER / "steps")
STEPS = 20
SETTINGS = TrainSettings(
    learning_rate=3e-3,
    seed=3,
    dtype="float32",
    lora=Lora(4, 8),
    batch_size=4,
    max_steps=STEPS,
    lr_scheduler_type="cosine",
)
TRAININGS = {"lora": SETTINGS, "full": replace(SETTINGS, lora=None, learning_rate=1e-3, weight_decay=0.1)}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(out: Path, settings: TrainSettings, **callbacks) -> dict:
    """Train on seven rows with four in a step, so that epochs end within steps."""
    rng = random.Random(0)
    rows = [world.chat(rng, "words") for _ in range(7)]
    chats = [[{"role": "user", "content": r.prompt}, {"role": "assistant", "content": r.answer}] for r in rows]
    return train(TrainJob(CHECKPOINT, chats, settings, out), callbacks=Callbacks(**callbacks))


def weights(out: Path) -> bytes:
    (file,) = out.glob("*.safetensors")
    return file.read_bytes()


def save_into(folder: Path) -> Callable[[Path], None]:
    """A callback that copies every state to a folder named after its step."""

    def save(state: Path) -> None:
        step = json.loads((state / "progress.json").read_text())["step"]
        shutil.copytree(state, folder / "copying")
        (folder / "copying").rename(folder / f"{step:03}")

    folder.mkdir(parents=True, exist_ok=True)
    return save


def train_until_killed(folder: Path, name: str, connection: Connection) -> None:
    """The training of a child process: it sends the step of every state, and waits at its last step."""
    torch.set_num_threads(1)
    copy = save_into(folder / name / "states")

    def save(state: Path) -> None:
        copy(state)
        connection.send(json.loads((state / "progress.json").read_text())["step"])

    def report(metrics: dict) -> None:
        if metrics["step"] + 1 == STEPS:
            connection.recv()

    run(folder / name / "killed", TRAININGS[name], save_state=save, save_every_seconds=0, report=report)


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A folder with the files of trainings in child processes, each killed at a random step."""
    folder = tmp_path_factory.mktemp("killed")
    seed = random.SystemRandom().randrange(1 << 32)
    print("random.Random", seed)
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")  # Its children are forked from a process without threads.
    context.set_forkserver_preload(["trainers.learner", "transformers.models.llama.modeling_llama", "peft"])
    for name in TRAININGS:
        until, (ours, theirs) = rng.randrange(1, STEPS), context.Pipe()
        child = context.Process(target=train_until_killed, args=(folder, name, theirs))
        child.start()
        step = 0
        while step < until:
            assert ours.poll(300), "the child saves no state"
            step = ours.recv()
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_killed_at_a_random_step_resumes_to_the_same_weights(tmp_path, killed, name):
    newest = max((killed / name / "states").glob("0*"))
    assert not (killed / name / "killed").exists()
    resumed = run(tmp_path / "resumed", TRAININGS[name], resume_from=newest)
    uninterrupted = run(tmp_path / "uninterrupted", TRAININGS[name])
    assert 0 < int(newest.name) < STEPS
    assert weights(tmp_path / "resumed") == weights(tmp_path / "uninterrupted")
    assert resumed["losses"] == uninterrupted["losses"]
    assert (resumed["steps"], resumed["tokens"]) == (uninterrupted["steps"], uninterrupted["tokens"])


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_a_state_has_only_safetensors_and_json(killed, name):
    newest = max((killed / name / "states").glob("0*"))
    files = {path.name: path.read_bytes() for path in newest.iterdir()}
    assert files.keys() == {
        "weights.safetensors",
        "exp_avg.safetensors",
        "exp_avg_sq.safetensors",
        "progress.json",
    }
    # A pickle starts with its protocol. torch.save puts one into a zip archive.
    assert not any(content.startswith((b"\x80", b"PK")) for content in files.values())
    assert json.loads(files["progress.json"])["step"] == int(newest.name)


def test_a_training_can_be_interrupted_several_times(tmp_path):
    settings, newest = replace(SETTINGS, max_steps=4), None
    run(tmp_path / "uninterrupted", settings)
    for step in (1, 2, 3):
        # Each attempt saves one state and fails at the next step.
        states = tmp_path / f"states{step}"
        attempt = {
            "resume_from": newest,
            "save_state": save_into(states),
            "save_every_seconds": 0,
            "report": interrupt_at(step),
        }
        with pytest.raises(InterruptedError):
            run(tmp_path / "lost", settings, **attempt)
        (newest,) = states.iterdir()
        assert newest.name == f"{step:03}"
    run(tmp_path / "resumed", settings, resume_from=newest)
    assert weights(tmp_path / "resumed") == weights(tmp_path / "uninterrupted")


def interrupt_at(step: int):
    def report(facts: dict) -> None:
        if facts["step"] == step:
            raise InterruptedError

    return report


def test_a_preemption_request_saves_one_state(tmp_path):
    asked = []

    def requested() -> bool:
        asked.append(1)
        return len(asked) >= 3

    run(
        tmp_path / "out",
        replace(SETTINGS, max_steps=8),
        save_state=save_into(tmp_path / "states"),
        preemption_requested=requested,
    )
    assert len(asked) == 7  # After the last step there is nothing to resume.
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["003"]


def test_no_state_is_saved_by_default(tmp_path):
    run(tmp_path / "out", replace(SETTINGS, max_steps=3), save_state=save_into(tmp_path / "states"))
    assert not list((tmp_path / "states").iterdir())


def test_states_are_saved_at_the_given_interval(tmp_path, monkeypatch):
    now = itertools.count(step=0.001)
    late = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(now) + late[0]))

    def report(_: dict) -> None:
        late[0] += 10

    states = tmp_path / "states"
    run(
        tmp_path / "out",
        replace(SETTINGS, max_steps=8),
        save_state=save_into(states),
        save_every_seconds=25,
        report=report,
    )
    assert sorted(path.name for path in states.iterdir()) == ["003", "006"]


def test_states_that_take_long_are_saved_less_often(tmp_path, monkeypatch):
    now = itertools.count(step=0.001)
    late = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(now) + late[0]))
    states = tmp_path / "states"

    def report(_: dict) -> None:
        late[0] += 10

    def save(folder: Path) -> None:
        save_into(states)(folder)
        late[0] += 1.9

    settings = replace(SETTINGS, max_steps=8)
    run(tmp_path / "out", settings, save_state=save, save_every_seconds=25, report=report)
    assert sorted(path.name for path in states.iterdir()) == ["003", "007"]  # 20 times 1.9 s are four steps of 10 s


def test_a_full_disk_is_an_error_that_names_the_disk(tmp_path):
    (tmp_path / "progress.json").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=f"no space left on the disk of {tmp_path}"):
        state.save_progress(tmp_path, {"step": 1})
