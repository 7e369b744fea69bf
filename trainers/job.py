"""What a training is given: its model, data and settings, the configuration of its processes, and its caller's side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluators.engines.chat_template import Chat
from evaluators.engines.requests import RequestOutput
from trainers.settings import TrainSettings


@dataclass(frozen=True)
class TrainJob:
    """`base` is the checkpoint of the base student (a folder or a hub id). Training begins from it, or from `start`: an
    adapter on it where `settings.lora` is set, else another checkpoint. `teacher` is the checkpoint of another model,
    for objectives that compare with one. The trained student is saved into `out`. Examples are chats, which end in the
    assistant's answer where they have one.
    """

    base: str
    examples: Sequence[Chat]
    settings: TrainSettings
    out: Path
    start: Path | None = None
    teacher: str | None = None

    @property
    def checkpoint(self) -> str:
        """The full weights that are loaded first."""
        return self.base if self.settings.lora or self.start is None else str(self.start)


@dataclass(frozen=True)
class ProcessConfig:
    """One of `workers` processes that train together. Each takes its share of the rows of every step. Nothing here
    changes the result of a training, except that each micro-batch draws a mask of its own where there is dropout.

    `zero` is the stage of DeepSpeed's ZeRO (0: plain data parallelism), `offload` what it holds in CPU memory.
    A micro-batch has at most `max_tokens_per_microbatch` tokens; a longer row makes a micro-batch of its own.
    """

    rank: int = 0
    workers: int = 1
    device: str = "cpu"
    zero: Literal[0, 1, 2, 3] = 0
    offload: Literal["nothing", "optimizer", "all"] = "nothing"
    gradient_checkpointing: bool = False
    max_tokens_per_microbatch: int = 4096


def _nothing(*_: Any) -> None:
    return None


def _no_engine(*_: Any) -> Any:
    raise AssertionError("this objective learns from the student's own completions: pass Callbacks(generate=...)")


@dataclass(frozen=True)
class Callbacks:
    """What a training asks of its caller: metrics, checkpoints, resumable states, completions and rewards.

    All but `preemption_requested` are called in the process of rank 0 only.

    - `report(metrics)`: the metrics of a step;
    - `advance(done, of)`: how many of the steps are done, after each;
    - `save_checkpoint(step, folder)`: the student's weights after a step of `checkpoint_steps`;
    - `resume_from`: the folder of a state that an earlier attempt saved;
    - `save_state(folder)`: a resumable state. Called every `save_every_seconds` (0: after each step), less often if
      saves take long (saving.py), and once after `preemption_requested()` turns true;
    - `generate(folder, step, prompts)`: completions of the student with the weights in `folder`, an output per prompt;
    - `reward(numbers, outputs)`: the rewards (P, N) of the completions for the examples with these numbers;
    - `kl_every_steps`: how often KL(student || base student) is measured (0: never).
    """

    report: Callable[[dict[str, float]], None] = _nothing
    advance: Callable[[int, int], None] = _nothing
    save_checkpoint: Callable[[int, Path], None] = _nothing
    checkpoint_steps: Sequence[int] = ()
    resume_from: Path | None = None
    save_state: Callable[[Path], None] = _nothing
    save_every_seconds: float = float("inf")
    preemption_requested: Callable[[], bool] = lambda: False
    generate: Callable[[Path, int, list[Chat]], list[RequestOutput]] = _no_engine
    reward: Callable[[list[int], list[RequestOutput]], list[list[float]]] | None = None
    kl_every_steps: int = 0
