"""What a training asks of its caller: metrics, checkpoints, resumable states, completions and rewards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.engines.chat_template import Chat
from evaluators.engines.requests import RequestOutput


def _nothing(*_: Any) -> None:
    return None


def _no_engine(*_: Any) -> Any:
    raise AssertionError("this objective learns from the student's own completions: pass Callbacks(generate=...)")


@dataclass(frozen=True)
class Callbacks:
    """All but `preemption_requested` are called in the process of rank 0 only.

    - `report(metrics)`: the metrics of a step;
    - `save_checkpoint(step, folder)`: the student's weights after a step of `checkpoint_steps`;
    - `resume_from`: the folder of a state that an earlier attempt saved;
    - `save_state(folder)`: a resumable state. Called every `save_every_seconds`, and once after
      `preemption_requested()` turns true;
    - `generate(folder, step, prompts)`: completions of the student with the weights in `folder`, an output per prompt;
    - `reward(numbers, outputs)`: the rewards (P, N) of the completions for the examples with these numbers;
    - `kl_every_steps`: how often KL(student || base student) is measured (0: never).
    """

    report: Callable[[dict[str, float]], None] = _nothing
    save_checkpoint: Callable[[int, Path], None] = _nothing
    checkpoint_steps: Sequence[int] = ()
    resume_from: Path | None = None
    save_state: Callable[[Path], None] = _nothing
    save_every_seconds: float = float("inf")
    preemption_requested: Callable[[], bool] = lambda: False
    generate: Callable[[Path, int, list[Chat]], list[RequestOutput]] = _no_engine
    reward: Callable[[list[int], list[RequestOutput]], list[list[float]]] | None = None
    kl_every_steps: int = 0
