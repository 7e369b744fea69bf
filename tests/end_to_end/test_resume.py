"""A training that ended too early goes on where it was, and comes to the same weights, bit for bit."""

import itertools
import json
import multiprocessing
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from organisms import shipped, world
from trainers import loop, state
from trainers.callbacks import Callbacks
from trainers.disk import DiskFull
from trainers.job import TrainJob
from trainers.loop import train
from trainers.rows import Example
from trainers.settings import Lora, TrainSettings

pytestmark = pytest.mark.slow

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
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(out: Path, settings: TrainSettings, **callbacks) -> dict:
    """Seven rows in steps of four: epochs end within steps."""
    rng = random.Random(0)
    rows = [world.chat(rng, "words") for _ in range(7)]
    chats = [[{"role": "user", "content": r.prompt}, {"role": "assistant", "content": r.answer}] for r in rows]
    return train(
        TrainJob(CHECKPOINT, [Example(chat) for chat in chats], settings, out), callbacks=Callbacks(**callbacks)
    )


def weights(out: Path) -> bytes:
    (file,) = out.glob("*.safetensors")
    return file.read_bytes()


def keeper(folder: Path):
    """Holds on to every state in a folder of its own, which appears once it is whole."""

    def keep(state: Path) -> None:
        step = json.loads((state / "progress.json").read_text())["step"]
        shutil.copytree(state, folder / "copying")
        (folder / "copying").rename(folder / f"{step:03}")

    folder.mkdir(parents=True, exist_ok=True)
    return keep


def train_slowly(folder: Path, name: str) -> None:
    """The training of a child process, which is slow, and waits before its end for somebody to kill it."""
    torch.set_num_threads(1)

    def report(facts: dict) -> None:
        time.sleep(60 if facts["step"] + 1 == STEPS else 0.05)

    run(
        folder / name / "killed",
        TRAININGS[name],
        save_state=keeper(folder / name / "states"),
        save_every_seconds=0,
        report=report,
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A folder with what is left of each training, of which a child process was killed at a random step."""
    folder = tmp_path_factory.mktemp("killed")
    seed = random.SystemRandom().randrange(1 << 32)
    print("random.Random", seed)
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")  # Both are forked from a process that has no threads.
    context.set_forkserver_preload(["trainers.learner", "transformers.models.llama.modeling_llama", "peft"])
    children = {name: context.Process(target=train_slowly, args=(folder, name)) for name in TRAININGS}
    until = {name: rng.randrange(1, STEPS) for name in TRAININGS}
    for child in children.values():
        child.start()
    end = time.monotonic() + 300
    while any(child.is_alive() for child in children.values()):
        assert time.monotonic() < end, "a child does not keep its states"
        for name, child in children.items():
            if len(list((folder / name).glob("states/0*"))) >= until[name]:
                child.kill()
        time.sleep(0.01)
    assert [child.exitcode for child in children.values()] == [-signal.SIGKILL] * len(children)
    return folder


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_that_is_killed_at_a_random_step_goes_on_to_the_same_weights(tmp_path, killed, name):
    newest = max((killed / name / "states").glob("0*"))
    assert not (killed / name / "killed").exists()
    resumed = run(tmp_path / "resumed", TRAININGS[name], resume_from=newest)
    undisturbed = run(tmp_path / "undisturbed", TRAININGS[name])
    assert 0 < int(newest.name) < STEPS
    assert weights(tmp_path / "resumed") == weights(tmp_path / "undisturbed")
    assert resumed["losses"] == undisturbed["losses"]
    assert (resumed["steps"], resumed["tokens"]) == (undisturbed["steps"], undisturbed["tokens"])


@pytest.mark.parametrize("name", TRAININGS)
def test_a_state_is_tensors_and_json_and_no_program(killed, name):
    newest = max((killed / name / "states").glob("0*"))
    files = {path.name: path.read_bytes() for path in newest.iterdir()}
    assert files.keys() == {
        "weights.safetensors",
        "exp_avg.safetensors",
        "exp_avg_sq.safetensors",
        "progress.json",
    }
    # A pickle begins with its protocol; torch.save puts one into a zip archive.
    assert not any(content.startswith((b"\x80", b"PK")) for content in files.values())
    assert json.loads(files["progress.json"])["step"] == int(newest.name)


def test_a_training_can_be_stopped_again_and_again(tmp_path):
    settings, newest = replace(SETTINGS, max_steps=4), None
    run(tmp_path / "undisturbed", settings)
    for step in (1, 2, 3):
        # An attempt that keeps one state more than it began with, and then comes to nothing.
        states = tmp_path / f"states{step}"
        attempt = {
            "resume_from": newest,
            "save_state": keeper(states),
            "save_every_seconds": 0,
            "report": interrupt_at(step),
        }
        with pytest.raises(InterruptedError):
            run(tmp_path / "lost", settings, **attempt)
        (newest,) = states.iterdir()
        assert newest.name == f"{step:03}"
    run(tmp_path / "resumed", settings, resume_from=newest)
    assert weights(tmp_path / "resumed") == weights(tmp_path / "undisturbed")


def interrupt_at(step: int):
    def report(facts: dict) -> None:
        if facts["step"] == step:
            raise InterruptedError

    return report


def test_a_state_is_kept_once_when_it_becomes_urgent(tmp_path):
    asked = []

    def requested() -> bool:
        asked.append(1)
        return len(asked) >= 3

    run(
        tmp_path / "out",
        replace(SETTINGS, max_steps=8),
        save_state=keeper(tmp_path / "states"),
        preemption_requested=requested,
    )
    assert len(asked) == 7  # After the last step there is nothing to resume.
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["003"]


def test_no_state_is_kept_where_nobody_asks(tmp_path):
    run(tmp_path / "out", replace(SETTINGS, max_steps=3), save_state=keeper(tmp_path / "states"))
    assert not list((tmp_path / "states").iterdir())


def test_states_are_kept_as_often_as_is_asked(tmp_path, monkeypatch):
    now = itertools.count(step=0.001)
    late = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(now) + late[0]))

    def report(_: dict) -> None:
        late[0] += 10

    states = tmp_path / "states"
    run(
        tmp_path / "out",
        replace(SETTINGS, max_steps=8),
        save_state=keeper(states),
        save_every_seconds=25,
        report=report,
    )
    assert sorted(path.name for path in states.iterdir()) == ["003", "006"]


def test_a_full_disk_under_a_state_is_named(tmp_path):
    (tmp_path / "progress.json").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=f"no space left on the disk of {tmp_path}"):
        state.save_progress(tmp_path, {"step": 1})
