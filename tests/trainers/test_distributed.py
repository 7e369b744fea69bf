"""Two processes train like one, with plain data parallelism and with every stage of DeepSpeed's ZeRO."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from evaluators.engines.chat_template import Chat
from organisms import shipped, world
from trainers.batches import microbatches, row_order
from trainers.job import Callbacks, ProcessConfig, TrainJob
from trainers.loop import train
from trainers.settings import Lora, TrainSettings
from trainers.tokenization import tokenize

pytestmark = pytest.mark.slow

CHECKPOINT = str(shipped.FOLDER / "steps")
WORKERS, MICRO_TOKENS, STEPS, KEPT = 2, 80, 20, 10
LORA = TrainSettings(
    learning_rate=1e-3,
    seed=1,
    dtype="float32",
    lora=Lora(4, 8),
    batch_size=5,
    max_steps=STEPS,
    lr_scheduler_type="cosine",
)
FULL = replace(LORA, lora=None)
TRAININGS = {
    "lora": LORA,
    "full": FULL,
    "short": replace(FULL, max_steps=6),
    "further": replace(LORA, max_steps=5),  # from an adapter
    "one row": replace(FULL, batch_size=1, max_steps=4),
    "penalty": replace(FULL, objective="sft_kl", max_steps=4),
    "clipped": replace(LORA, drop_least_likely=0.2, max_steps=4),
    "dropout": replace(LORA, lora=Lora(4, 8, lora_dropout=0.4)),
}
WAYS = {
    "ddp-lora": ("lora", {}),
    "ddp": ("full", {}),
    "zero1": ("full", {"zero": 1}),
    "zero2": ("full", {"zero": 2}),
    "zero3": ("full", {"zero": 3}),
    "zero3-offload": ("short", {"zero": 3, "offload": "all"}),
    "zero3-lora": ("further", {"zero": 3}),
    "ddp-one-row": ("one row", {}),
    "zero2-one-row": ("one row", {"zero": 2}),
    "zero3-one-row": ("one row", {"zero": 3}),
    "zero3-penalty": ("penalty", {"zero": 3}),
    "ddp-clipped": ("clipped", {}),
    "ddp-dropout": ("dropout", {}),
    "zero2-dropout": ("dropout", {"zero": 2}),
}
LIKE_ONE = [way for way in WAYS if not way.endswith("-dropout")]  # Workers draw masks of their own.
# AdamW amplifies the rounding of the smallest gradients. Weights move by up to STEPS * 1e-3.
TOLERANCE = 5e-5
RESUMED = ("ddp", "zero2", "zero3", "ddp-dropout", "zero2-dropout")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def examples() -> list[Chat]:
    """Seven rows, in steps of five: neither epochs nor workers divide them evenly."""
    rng = random.Random(0)
    rows = [world.maths(rng, "words", 1 + i % 3) if i % 2 else world.chat(rng, "words") for i in range(7)]
    return [[{"role": "user", "content": r.prompt}, {"role": "assistant", "content": r.answer}] for r in rows]


def run(out: Path, settings: TrainSettings, process: ProcessConfig, resume: Path | None = None) -> dict:
    """Trains. Halfway through a long training, its last process requests preemption, so a state is saved."""
    steps, norms = [], []

    def requested() -> bool:
        steps.append(1)
        return settings.max_steps == STEPS and process.rank == process.workers - 1 and len(steps) >= KEPT

    def save(state: Path) -> None:
        shutil.copytree(state, out.with_name(f"{out.name}-state"))

    start = out.parent / "adapter" if settings == TRAININGS["further"] else None
    callbacks = Callbacks(
        report=lambda facts: norms.append(facts["grad_norm"]),
        resume_from=resume,
        preemption_requested=requested,
        save_state=save,
    )
    return {**train(TrainJob(CHECKPOINT, examples(), settings, out, start=start), process, callbacks), "norms": norms}


def work(rank: int, folder: Path) -> None:
    """Runs all trainings, one after the other, as one of the processes."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(WORKERS))
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", timedelta(minutes=2), rank=rank, world_size=WORKERS
    )
    figures = {}
    for way, (training, how) in WAYS.items():
        place = ProcessConfig(rank, WORKERS, max_tokens_per_microbatch=MICRO_TOKENS, **how)
        figures[way] = run(folder / way, TRAININGS[training], place)
        if way in RESUMED:
            resumed = f"{way}-resumed"
            figures[resumed] = run(folder / resumed, TRAININGS[training], place, folder / f"{way}-state")
    if rank == 0:
        (folder / "figures.json").write_text(json.dumps(figures))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def main(folder: str) -> None:
    torch.multiprocessing.start_processes(work, (Path(folder),), nprocs=WORKERS, start_method="fork")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The results of every training, by one process ("one-...") and by two."""
    folder = tmp_path_factory.mktemp("distributed")
    torch.set_num_threads(1)
    run(folder / "adapter", replace(LORA, max_steps=2), ProcessConfig())
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, str(folder)],
        env={**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        alone = {name: run(folder / f"one-{name}", settings, ProcessConfig()) for name, settings in TRAININGS.items()}
        output, _ = child.communicate(timeout=500)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # With the processes that it started.
    assert child.returncode == 0, output[-5000:]
    together = json.loads((folder / "figures.json").read_text())
    everything = {**{f"one-{name}": figures for name, figures in alone.items()}, **together}
    (folder / "figures.json").write_text(json.dumps(everything))
    return folder


@pytest.fixture
def figures(folder) -> Callable[[str], dict]:
    return json.loads((folder / "figures.json").read_text()).__getitem__


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def assert_alike(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], atol: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, atol=atol, rtol=0)


def test_the_workers_have_uneven_work():
    rows = tokenize(examples(), AutoTokenizer.from_pretrained(CHECKPOINT), 2048)
    idle = 0
    for numbers in row_order(len(rows), FULL.batch_size, STEPS, FULL.seed):
        shares = microbatches([len(rows[i].ids) for i in numbers], WORKERS, MICRO_TOKENS, packed=True)
        assert sum(len(batch) for batch in shares[0]) != sum(len(batch) for batch in shares[1])
        idle += sum(not batch for batches in shares for batch in batches)
    assert idle > 0


@pytest.mark.parametrize("way", LIKE_ONE)
def test_two_processes_train_like_one(folder, figures, way):
    training = WAYS[way][0]
    ours, alone = figures(way), figures(f"one-{training}")
    assert ours["losses"] == pytest.approx(alone["losses"], abs=1e-4)
    # The norm too: a constant factor on all gradients does not change AdamW's steps.
    assert ours["norms"] == pytest.approx(alone["norms"], rel=1e-3)
    assert (ours["steps"], ours["tokens"], ours["packed"]) == (alone["steps"], alone["tokens"], True)
    assert ours.get("dropped_share") == alone.get("dropped_share")
    assert_alike(weights(folder / f"one-{training}"), weights(folder / way), atol=TOLERANCE)


@pytest.mark.parametrize("way", RESUMED)
def test_two_processes_resume_to_the_same_weights(folder, figures, way):
    assert figures(f"{way}-resumed")["losses"] == figures(way)["losses"]
    assert_alike(weights(folder / way), weights(folder / f"{way}-resumed"), atol=0)


@pytest.mark.parametrize("way", [way for way in LIKE_ONE if TRAININGS[WAYS[way][0]].max_steps == STEPS])
def test_a_state_does_not_depend_on_the_number_of_processes_and_the_engine(folder, way):
    theirs, ours = folder / f"{way}-state", folder / f"one-{WAYS[way][0]}-state"
    assert {path.name for path in theirs.iterdir()} == {path.name for path in ours.iterdir()}
    assert json.loads((theirs / "progress.json").read_text())["step"] == KEPT
    for part, atol in {"weights": TOLERANCE, "exp_avg": 1e-5, "exp_avg_sq": 1e-6}.items():
        assert_alike(load_file(ours / f"{part}.safetensors"), load_file(theirs / f"{part}.safetensors"), atol)


def test_one_process_resumes_from_a_state_of_two(tmp_path, folder, figures):
    alone = run(tmp_path / "out", FULL, ProcessConfig(), folder / "zero3-state")
    assert alone["losses"] == pytest.approx(figures("one-full")["losses"], abs=1e-4)
    assert_alike(weights(folder / "one-full"), weights(tmp_path / "out"), atol=TOLERANCE)


if __name__ == "__main__":
    main(sys.argv[1])
