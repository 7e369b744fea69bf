"""Where a training runs, and what surrounds it. Nothing here changes its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluators.engines.chat_template import Chat


@dataclass(frozen=True)
class ProcessConfig:
    """One of `workers` processes that train together, each of which takes its share of every step's rows.

    `zero` is the stage of DeepSpeed's ZeRO (0: plain data parallelism), `offload` what it holds in the memory of the
    machine. `max_tokens_per_microbatch` go through the model at a time; a longer row goes alone.
    """

    rank: int = 0
    workers: int = 1
    device: str = "cpu"
    zero: Literal[0, 1, 2, 3] = 0
    offload: Literal["nothing", "optimizer", "all"] = "nothing"
    recompute: bool = False
    max_tokens_per_microbatch: int = 4096


def _nothing(*_: Any) -> None:
    return None


def _no_sampler(*_: Any) -> Any:
    raise AssertionError("this objective needs the student's own samples, which whoever trains must bring")


@dataclass(frozen=True)
class Callbacks:
    """What a training asks of whoever runs it. All but `urgent` are called in the process of rank 0 alone.

    - `report(metrics)`: the figures of a step;
    - `leave(step, folder)`: the student's weights after a step of `checkpoints`;
    - `resume`: a state that an earlier attempt kept, to go on from;
    - `keep(folder)`: hold on to a state for a later attempt; asked every `save_every_seconds` seconds, or when it is `urgent`;
    - `sample(folder, step, prompts)`: answers by the student as its weights in `folder` are, one reply for each prompt;
    - `reward(numbers, replies)`: what each answer to the examples with these numbers is worth;
    - `kl_every`: so many steps apart it is measured how far the student is from the original one (0: never).
    """

    report: Callable[[dict], None] = _nothing
    leave: Callable[[int, Path], None] = _nothing
    checkpoints: Sequence[int] = ()
    resume: Path | None = None
    keep: Callable[[Path], None] = _nothing
    save_every_seconds: float = float("inf")
    urgent: Callable[[], bool] = lambda: False
    sample: Callable[[Path, int, list[Chat]], list[Any]] = _no_sampler
    reward: Callable[[list[int], list[Any]], list[list[float]]] | None = None
    kl_every: int = 0
