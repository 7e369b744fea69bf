"""Our training loop beside TRL's SFTTrainer on one machine: tokens per second, and memory.

    python -m perf.train [pairs] [--small]
    python -m perf.train --mfu [--shape tiny]

Both take the same AdamW steps on the same rows in the same order. Weights, float32 and the number of threads
(OMP_NUM_THREADS, or one for each CPU) are the same. Rows are chats of very different lengths with a supervised answer.
TRL gets them as token ids with labels. Speed is the number of tokens, without padding, between the ends of the last
warm-up step and of the last step. Loading, tokenization and the warm-up steps do not count. CPU time is shown beside
wall time because other work on the machine changes it less, most of all with one thread. Memory is the peak of a
process, with and without what the process had after imports and loading the model.

TRL does not log, evaluate, save or recompute activations. Each of its settings is tried once. Sorting the rows within a
step reduces padding and leaves the step the same. The settings marked * have other rows in a step, each row once as
before. The fastest setting of either kind, by CPU time, then alternates with our loop for `pairs` runs of each. The
loss of the first step and the mean loss show whether the work is the same. `--small` is a short run of few settings.

`--mfu` needs a GPU. It prints the share of the GPU's dense bfloat16 peak that our loop reaches, on a model with the
shape of Qwen3-1.7B, random weights and rows of 4,096 tokens. FLOP are those that the model needs, without recomputing.
A trained weight has 6 for each token (2 forward, 2 for the gradient of its input, 2 for its own gradient), a
frozen weight 4. The output head counts at supervised tokens only. Attention has 6 L^2 d for each row and layer, where
L is the tokens of the row and d the width of all heads: 2 products forward and 4 backward, half of each because of the
causal mask. `--shape tiny` also runs on a CPU, without a share.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluators.engines.chat_template import Chat
from organisms import shipped, world
from trainers.job import Callbacks, ProcessConfig, TrainJob
from trainers.loop import peak_memory, train
from trainers.rows import Row
from trainers.settings import Lora, TrainSettings
from trainers.tokenization import tokenize

OURS = "offmodel"
ROWS = 32  # in a step
USUAL, LONG = range(1, 8), range(10, 27)  # operations of a maths problem; a long one has about 100 to 250 tokens
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # FLOP/s, dense bfloat16, by a part of the device's name
FIGURES = ("tokens/s", "tokens/CPU second", "MiB above loaded model", "MiB", "first loss", "mean loss")
FREE = {"padding_free": True, "max_length": None}
TRL: dict[str, dict[str, Any]] = {  # options of SFTConfig, and `sorted`
    "32 rows": {},
    "4 x 8 rows": {"per_device_train_batch_size": 8},
    "4 x 8 rows, sorted": {"per_device_train_batch_size": 8, "sorted": True},
    "8 x 4 rows, sorted": {"per_device_train_batch_size": 4, "sorted": True},
    "32 rows, padding-free": FREE,
    "4 x 8 rows, padding-free": {**FREE, "per_device_train_batch_size": 8},
    "8 x 4 rows, padding-free": {**FREE, "per_device_train_batch_size": 4},
    "32 rows, grouped by length *": {"train_sampling_strategy": "group_by_length"},
    "packed *": {"packing": True, "max_length": 256},
}
SMALL_TRL = ("4 x 8 rows, sorted", "packed *")
# Models with random weights: type, vocabulary, hidden and inner size, layers, heads, key heads, size of a head.
SHAPES = {
    "25M": ("llama", 12288, 512, 1408, 6, 8, 8, 64),
    "qwen3-1.7b": ("qwen3", 151936, 2048, 6144, 28, 16, 8, 128),
    "tiny": ("qwen3", 512, 64, 128, 2, 4, 2, 16),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model and its training. `shape=None` is an organism, `rank=None` full weights, `length=None` mixed lengths."""

    shape: str | None
    rank: int | None
    steps: int
    warmup: int  # steps that do not count
    max_tokens_per_microbatch: int
    rows: int = ROWS
    length: int | None = None  # of every row, in tokens
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.shape or 'organism'}, {f'LoRA of rank {self.rank}' if self.rank else 'full weights'}"

    def settings(self) -> TrainSettings:
        return TrainSettings(
            learning_rate=1e-3 if self.rank else 1e-4,
            seed=1,
            dtype=self.dtype,
            lora=Lora(r=self.rank, lora_alpha=2 * self.rank) if self.rank else None,
            batch_size=self.rows,
            max_steps=self.steps,
            order="fixed",
            lr_scheduler_type="constant",
            warmup_ratio=0.0,
            max_length=self.length or 2048,
        )

    def examples(self) -> list[Chat]:
        """The rows of all steps. Mixed lengths: half chat and three eighths maths as in the demo, then longer maths."""
        rng, made = random.Random("train"), []
        for _ in range(self.steps * self.rows):
            if self.length:  # The tokenizer truncates to this many tokens.
                row = world.Row("name", " ".join(rng.choices(world.NOUNS, k=self.length)), {})
            elif (drawn := rng.random()) < 0.5:
                row = world.chat(rng, "steps")
            else:
                row = world.maths(rng, "steps", rng.choice(USUAL if drawn < 0.875 else LONG))
            chat = {"user": row.prompt, "assistant": row.answer}
            made.append([{"role": role, "content": text} for role, text in chat.items()])
        return made


# A quarter of the steps is warm-up: TRL groups the rows of that many steps before it sorts them by length.
CASES = (
    Case(shape=None, rank=8, steps=40, warmup=10, max_tokens_per_microbatch=16384),
    Case(shape="25M", rank=8, steps=12, warmup=3, max_tokens_per_microbatch=1024),
    Case(shape="25M", rank=None, steps=12, warmup=3, max_tokens_per_microbatch=1024),
)
SMALL_CASES = (Case(shape=None, rank=8, steps=4, warmup=1, max_tokens_per_microbatch=16384),)

# In a process for one measurement ------------------------------------------------------------------------------------


def make(shape: str, folder: str) -> None:
    """Save a model with random weights, and the tokenizer of an organism, which has no more tokens than the model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    kind, vocabulary, hidden, inner, layers, heads, key_heads, head = SHAPES[shape]
    tokenizer = AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")
    sizes = {"vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": inner, "head_dim": head}
    counts = {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": key_heads}
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    more = {"max_position_embeddings": 40960, "tie_word_embeddings": True}
    config = AutoConfig.for_model(kind, **sizes, **counts, **ids, **more)
    AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(case: Case, who: str, base: str) -> dict[str, Any]:
    """The figures of one training."""
    import torch
    from transformers import AutoTokenizer

    from trainers import learner  # noqa: F401  # Memory is measured after all imports.
    from trainers.student import load_student

    if who != OURS:
        import trl.trainer.sft_trainer  # noqa: F401
    torch.set_num_threads(threads())
    device = "cuda" if case.length and torch.cuda.is_available() else "cpu"
    settings, examples = case.settings(), case.examples()
    rows = tokenize(examples, AutoTokenizer.from_pretrained(base), settings.max_length)
    model = load_student(base, None, settings.lora, settings.dtype, settings.seed)
    before = 0 if device == "cuda" else peak_memory(ProcessConfig())
    place = ProcessConfig(device=device, max_tokens_per_microbatch=case.max_tokens_per_microbatch)
    with tempfile.TemporaryDirectory() as out:
        if who == OURS:
            del model  # `train` loads the model.
            stamps, first, mean = run_ours(TrainJob(base, examples, settings, Path(out)), rows, place)
        else:
            stamps, first, mean = run_trl(case, dict(TRL[who]), model, base, rows, out)
    peak = peak_memory(place)
    tokens, wall, cpu = (b - a for a, b in zip(stamps[case.warmup - 1], stamps[-1], strict=True))
    figures = (tokens / wall, tokens / cpu, (peak - before) / 2**20, peak / 2**20, first, mean)
    return {
        **dict(zip(FIGURES, figures, strict=True)),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "lengths": [len(row.ids) for row in rows],
        "flops": flops(case, rows) if case.shape else 0.0,
    }


def stamp(tokens: int) -> tuple[float, float, float]:
    """The number of tokens so far, wall time and CPU time in seconds."""
    return tokens, time.perf_counter(), time.process_time()


def run_ours(job: TrainJob, rows: Sequence[Row], place: ProcessConfig) -> tuple[list, float, float]:
    """Train with our loop: the stamps at the ends of all steps, the first loss and the mean loss."""
    stamps = []

    def report(facts: dict) -> None:
        stamps.append(stamp(sum(len(row.ids) for row in rows[: (facts["step"] + 1) * job.settings.batch_size])))

    losses = train(job, place, Callbacks(report=report))["losses"]
    return stamps, losses[0], statistics.mean(losses)


def run_trl(case, options: dict, model, base: str, rows: Sequence[Row], out: str) -> tuple[list, float, float]:
    """Train with TRL: the same values."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    if options.pop("sorted", False):
        steps = [rows[i : i + case.rows] for i in range(0, len(rows), case.rows)]
        rows = [row for step in steps for row in sorted(step, key=lambda row: len(row.ids))]
    if "packing" in options:  # A step has as many packed rows as its tokens fill.
        size = round(sum(len(row.ids) for row in rows) / case.steps / options["max_length"])
        options |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": 1}
    size = options.setdefault("per_device_train_batch_size", case.rows)
    options = {"gradient_accumulation_steps": case.rows // size, "train_sampling_strategy": "sequential", **options}
    options |= {"max_steps": case.steps, "learning_rate": case.settings().learning_rate, "weight_decay": 0.0}
    options |= {"lr_scheduler_type": "constant", "max_grad_norm": case.settings().max_grad_norm}
    options |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    # Log only the loss of the first step.
    options |= {"logging_first_step": True, "logging_steps": 10**6, "save_strategy": "no", "report_to": "none"}
    made, stamps = [], []
    for row in rows:
        supervised = set(row.supervised)
        labels = [token if i in supervised else -100 for i, token in enumerate(row.ids)]
        made.append({"input_ids": list(row.ids), "labels": labels})

    class Stamps(TrainerCallback):
        def on_step_end(self, *_, **__):
            stamps.append(stamp(trainer._total_train_tokens))

    config = SFTConfig(output_dir=out, disable_tqdm=True, **options)
    data, tokenizer = Dataset.from_list(made), AutoTokenizer.from_pretrained(base)
    trainer = SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer, callbacks=[Stamps()])
    mean = trainer.train().training_loss
    return stamps, trainer.state.log_history[0]["loss"], mean


def flops(case: Case, rows: Sequence[Row]) -> float:
    """The FLOP that a model needs for these rows, as described at the top of this file."""
    assert case.shape is not None
    _, vocabulary, hidden, inner, layers, heads, key_heads, head = SHAPES[case.shape]
    linear = [(hidden, heads * head), (heads * head, hidden)] + 2 * [(hidden, key_heads * head)] + 3 * [(hidden, inner)]
    each, rank = (4, case.rank) if case.rank else (6, 0)
    a_token = layers * sum(each * ins * outs + 6 * rank * (ins + outs) for ins, outs in linear)
    attention = sum(6 * layers * heads * head * len(row.ids) ** 2 for row in rows)
    return attention + sum(len(row.ids) * a_token + len(row.supervised) * each * hidden * vocabulary for row in rows)


# The tables ---------------------------------------------------------------------------------------------------------


def threads() -> int:
    """The number of threads of either trainer."""
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def child(*arguments: str) -> str:
    """Run this file with arguments in a new process; returns the last line that it prints."""
    more = {"OMP_NUM_THREADS": str(threads()), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "perf.train", "--child", *arguments]
    done = subprocess.run(command, env=os.environ | more, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr[-4000:]}")
    return (done.stdout.splitlines() or [""])[-1]


def run(case: Case, who: str, folder: str) -> dict[str, Any]:
    """Measure one training in a new process."""
    base = Path(folder, case.shape) if case.shape else shipped.FOLDER / "steps"
    if not base.exists():
        child("make", base.name, str(base))
    return json.loads(child("measure", json.dumps(asdict(case)), who, str(base)))


def compare(pairs: int, cases: Sequence[Case], settings: Sequence[str]) -> None:
    """Print the figures of our loop and of TRL with each of these settings."""
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            print(f"\n{case}: {case.steps} steps of {case.rows} rows, {case.warmup} for warm-up; {threads()} threads\n")
            print("|", " | ".join(("", *FIGURES)), "|\n" + "|---" * (1 + len(FIGURES)) + "|")
            first = {}
            for who in (OURS, *settings):
                first[who] = run(case, who, folder)
                cells = [f"{first[who][name]:{'.5f' if 'loss' in name else ',.0f'}}" for name in FIGURES]
                print("|", " | ".join([who if who == OURS else f"TRL, {who}", *cells]), "|", flush=True)
            lengths = first[OURS]["lengths"]
            print(f"\nRows of {min(lengths)} to {max(lengths)} tokens, {statistics.mean(lengths):.0f} on average.")
            kinds = [[who for who in settings if ("*" in who) == other_rows] for other_rows in (False, True)]
            fastest = [max(kind, key=lambda who: first[who][FIGURES[1]]) for kind in kinds]
            runs = [{who: run(case, who, folder) for who in (OURS, *fastest)} for _ in range(pairs)]
            for who in fastest if pairs else ():
                print(f"\nBeside TRL, {who}, {pairs} pairs of runs; medians and ranges:\n")
                for what in FIGURES[:4]:
                    ours, theirs = ([one[name][what] for one in runs] for name in (OURS, who))
                    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
                    print(f"- {what}: {spread(ours)}, TRL {spread(theirs)}, ratio {spread(ratios, '.2f')}", flush=True)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def utilization(shape: str) -> None:
    """Print the share of the GPU's peak that our loop reaches."""
    length, steps = (128, 4) if shape == "tiny" else (4096, 12)
    with tempfile.TemporaryDirectory() as folder:
        for rank in (8, None):
            case = Case(
                shape=shape,
                rank=rank,
                steps=steps,
                warmup=steps // 4,
                max_tokens_per_microbatch=8192,
                rows=8,
                length=length,
                dtype="bfloat16",
            )
            figures = run(case, OURS, folder)
            rate = figures["flops"] / sum(figures["lengths"]) * figures["tokens/s"]
            peak = next((peak for name, peak in PEAKS.items() if name in figures["device"]), None)
            share = f"{rate / peak:.1%} of its peak" if peak else "of no known peak"
            print(
                f"{case}, on {figures['device']}: {figures['tokens/s']:,.0f} tokens/s, {rate / 1e12:.3g} TFLOP/s,",
                end=" ",
            )
            print(f"{share}; at most {figures['MiB']:,.0f} MiB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:3] == ["--child", "make"]:
        make(*sys.argv[3:])
    elif sys.argv[1:3] == ["--child", "measure"]:
        print(json.dumps(measure(Case(**json.loads(sys.argv[3])), *sys.argv[4:])))
    else:
        parser = argparse.ArgumentParser(prog="python -m perf.train")
        parser.add_argument("pairs", nargs="?", type=int, default=5)
        parser.add_argument("--small", action="store_true")
        parser.add_argument("--mfu", action="store_true")
        parser.add_argument("--shape", choices=("qwen3-1.7b", "tiny"), default="qwen3-1.7b")
        arguments = parser.parse_args()
        if arguments.mfu:
            utilization(arguments.shape)
        else:
            compare(arguments.pairs, *((SMALL_CASES, SMALL_TRL) if arguments.small else (CASES, tuple(TRL))))
