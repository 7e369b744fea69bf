"""Our training loop beside TRL's SFTTrainer on one machine: tokens a second, and memory.

    python -m benchmarks.train [times]
    python -m benchmarks.train --mfu [--shape tiny]

Both take as many AdamW steps on the same rows in the same order, from the same weights, in float32 and on as many
threads (OMP_NUM_THREADS, or one for each CPU). Rows are chats of very different lengths, of which the answer is
supervised; TRL gets them as token ids with labels. Tokens are those of the rows, without padding, by the time between
the ends of the first and the last step that counts: loading, tokenizing and the first steps are left out. Processor
time is given beside the wall's, since other work on the machine changes it less; it tells most with one thread. Memory
is the peak of a process of its own, less what it had with everything imported and the model loaded.

TRL neither logs nor evaluates, saves or recomputes. Each of its settings is tried. Sorting the rows within a step pads
less and changes no step; the steps of settings marked * have other rows, all of them once as ever. Of either kind the
one that needs the least processor time then runs in turn with our loop, `times` times. Losses tell whether the work is
the same: that of the first step, and the mean over all steps.

`--mfu` wants a GPU: the share of its dense bfloat16 peak that our loop uses on a model of Qwen3-1.7B's shape with
random weights, at 4,096 tokens a row. The FLOP of a step are those that the model needs, and none that is done twice:
6 for each token and each weight that is trained (2 forwards, 2 for the gradient of its input, 2 for its own), 4 where
it is frozen, the output head's at supervised tokens only; and attention's 6 L^2 d a row and layer, L being the row's
tokens and d the width of all heads: 2 products forwards and 4 backwards, half of each by causality. `--shape tiny` runs
the same on a CPU, of which no share is told.
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

from organisms import shipped, world
from trainers.callbacks import Callbacks
from trainers.job import TrainJob
from trainers.loop import peak_memory, train
from trainers.process import ProcessConfig
from trainers.rows import Example, Row
from trainers.settings import Lora, TrainSettings
from trainers.tokenization import tokenize

OURS = "offmodel"
ROWS = 32  # in a step
LONG = range(10, 27)  # operations in a chain of maths: about 100 to 250 tokens
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bfloat16, by what the device's name has in it
FIGURES = ("tokens/s", "tokens/processor second", "MiB more than loaded", "MiB in all", "first loss", "mean loss")
FREE = {"padding_free": True, "max_length": None}
TRL: dict[str, dict[str, Any]] = {  # SFTConfig's own, but for `sorted`
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
# Models with random weights: type, vocabulary, hidden and inner size, layers, heads, heads of keys, size of a head.
SHAPES = {
    "25M": ("llama", 12288, 512, 1408, 6, 8, 8, 64),
    "qwen3-1.7b": ("qwen3", 151936, 2048, 6144, 28, 16, 8, 128),
    "tiny": ("qwen3", 512, 64, 128, 2, 4, 2, 16),
}


@dataclass(frozen=True)
class Case:
    """A model (None: the shipped organism) and its steps, of which the first `warmup` do not count.

    `rank` is LoRA's (None: full weights), `length` that of every row (None: mixed).
    """

    shape: str | None
    rank: int | None
    steps: int
    warmup_ratio: int
    max_tokens_per_microbatch: int  # in one pass through the model
    rows: int = ROWS
    length: int | None = None
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.shape or 'organism'}, {f'LoRA of rank {self.rank}' if self.rank else 'full weights'}"

    def settings(self) -> TrainSettings:
        rate, lora = (1e-3, Lora(self.rank, 2 * self.rank)) if self.rank else (1e-4, None)
        how: dict[str, Any] = {
            "order": "fixed",
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0.0,
            "batch_size": self.rows,
        }
        length = self.length or 2048
        return TrainSettings(rate, 1, self.dtype, lora, max_steps=self.steps, max_length=length, **how)

    def examples(self) -> list[Example]:
        """The rows of all steps. Mixed: half chat and three eighths maths as in the demo, the others longer maths."""
        rng, made = random.Random("train"), []
        for _ in range(self.steps * self.rows):
            if self.length:  # Cut at that many tokens.
                row = world.Row("name", " ".join(rng.choices(world.NOUNS, k=self.length)), {})
            elif (drawn := rng.random()) < 0.5:
                row = world.chat(rng, "steps")
            else:
                row = world.maths(rng, "steps", rng.choice(world.PRETRAINING_LEVELS if drawn < 0.875 else LONG))
            said = {"user": row.prompt, "assistant": row.answer}
            made.append(Example([{"role": role, "content": text} for role, text in said.items()]))
        return made


# A quarter of the steps does not count: of so many rows TRL makes one of four groups, which are then sorted by length.
CASES = (Case(None, 8, 40, 10, 16384), Case("25M", 8, 12, 3, 1024), Case("25M", None, 12, 3, 1024))

# In a process of its own --------------------------------------------------------------------------------------------


def make(shape: str, folder: str) -> None:
    """Save a model with random weights, and the organism's tokenizer, which has no more tokens than it."""
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

    from trainers import learner  # noqa: F401 (memory counts from where everything is imported)
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
            del model  # It loads its own.
            stamps, first, mean = run_ours(TrainJob(base, examples, settings, Path(out)), rows, place)
        else:
            stamps, first, mean = run_trl(case, dict(TRL[who]), model, base, rows, out)
    peak = peak_memory(place)
    tokens, wall, processor = (b - a for a, b in zip(stamps[case.warmup - 1], stamps[-1], strict=True))
    figures = (tokens / wall, tokens / processor, (peak - before) / 2**20, peak / 2**20, first, mean)
    return {
        **dict(zip(FIGURES, figures, strict=True)),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "lengths": [len(row.ids) for row in rows],
        "flops": flops(case, rows) if case.shape else 0.0,
    }


def stamp(tokens: int) -> tuple[float, float, float]:
    """How many tokens have been seen, and when: by the wall's clock, and in the processor."""
    return tokens, time.perf_counter(), time.process_time()


def run_ours(job: TrainJob, rows: Sequence[Row], place: ProcessConfig) -> tuple[list, float, float]:
    """The stamps at the ends of all steps, the loss of the first, and the mean over all."""
    stamps = []

    def report(facts: dict) -> None:
        stamps.append(stamp(sum(len(row.ids) for row in rows[: (facts["step"] + 1) * job.settings.batch_size])))

    losses = train(job, place, Callbacks(report=report))["losses"]
    return stamps, losses[0], statistics.mean(losses)


def run_trl(case, options: dict, model, base: str, rows: Sequence[Row], out: str) -> tuple[list, float, float]:
    """The same of TRL."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    if options.pop("sorted", False):
        steps = [rows[i : i + case.rows] for i in range(0, len(rows), case.rows)]
        rows = [row for step in steps for row in sorted(step, key=lambda row: len(row.ids))]
    if "packing" in options:  # As many packed rows in a step as hold its tokens.
        size = round(sum(len(row.ids) for row in rows) / case.steps / options["max_length"])
        options |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": 1}
    size = options.setdefault("per_device_train_batch_size", case.rows)
    options = {"gradient_accumulation_steps": case.rows // size, "train_sampling_strategy": "sequential", **options}
    options |= {"max_steps": case.steps, "learning_rate": case.settings().learning_rate, "weight_decay": 0.0}
    options |= {"lr_scheduler_type": "constant", "max_grad_norm": case.settings().max_grad_norm}
    options |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    # The loss of the first step is wanted, those of the others are not.
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
    """What a model needs for these rows, as the docstring of this file counts it."""
    _, vocabulary, hidden, inner, layers, heads, key_heads, head = SHAPES[case.shape]
    linear = [(hidden, heads * head), (heads * head, hidden)] + 2 * [(hidden, key_heads * head)] + 3 * [(hidden, inner)]
    each, rank = (4, case.rank) if case.rank else (6, 0)
    a_token = layers * sum(each * ins * outs + 6 * rank * (ins + outs) for ins, outs in linear)
    attention = sum(6 * layers * heads * head * len(row.ids) ** 2 for row in rows)
    return attention + sum(len(row.ids) * a_token + len(row.supervised) * each * hidden * vocabulary for row in rows)


# The tables ---------------------------------------------------------------------------------------------------------


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def child(*arguments: str) -> str:
    """The last line of what this file prints with these arguments, in a process of its own."""
    more = {"OMP_NUM_THREADS": str(threads()), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "benchmarks.train", "--child", *arguments]
    done = subprocess.run(command, env=os.environ | more, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr[-4000:]}")
    return (done.stdout.splitlines() or [""])[-1]


def run(case: Case, who: str, folder: str) -> dict[str, Any]:
    base = Path(folder, case.shape) if case.shape else shipped.FOLDER / "steps"
    if not base.exists():
        child("make", base.name, str(base))
    return json.loads(child("measure", json.dumps(asdict(case)), who, str(base)))


def compare(times: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            print(f"\n{case}: {case.steps} steps of {case.rows} rows, {case.warmup} not counted; {threads()} threads\n")
            print("|", " | ".join(("", *FIGURES)), "|\n" + "|---" * (1 + len(FIGURES)) + "|")
            tried = {}
            for who in (OURS, *TRL):
                tried[who] = run(case, who, folder)
                cells = [f"{tried[who][name]:{'.5f' if 'loss' in name else ',.0f'}}" for name in FIGURES]
                print("|", " | ".join([who if who == OURS else f"TRL, {who}", *cells]), "|", flush=True)
            lengths = tried[OURS]["lengths"]
            print(f"\nRows of {min(lengths)} to {max(lengths)} tokens, {statistics.mean(lengths):.0f} on average.")
            kinds = [[who for who in TRL if ("*" in who) == other] for other in (False, True)]
            best = [max(kind, key=lambda who: tried[who][FIGURES[1]]) for kind in kinds]
            made = [{who: run(case, who, folder) for who in (OURS, *best)} for _ in range(times)]
            for who in best if times else ():
                print(f"\nBeside TRL, {who}, {times} times in turn; medians and ranges:\n")
                for what in FIGURES[:4]:
                    ours, theirs = ([one[name][what] for one in made] for name in (OURS, who))
                    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
                    print(f"- {what}: {spread(ours)}, TRL {spread(theirs)}, ratio {spread(ratios, '.2f')}", flush=True)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def utilisation(shape: str) -> None:
    length, steps = (128, 4) if shape == "tiny" else (4096, 12)
    with tempfile.TemporaryDirectory() as folder:
        for rank in (8, None):
            case = Case(shape, rank, steps, steps // 4, 8192, rows=8, length=length, dtype="bfloat16")
            of = run(case, OURS, folder)
            rate = of["flops"] / sum(of["lengths"]) * of["tokens/s"]
            peak = next((peak for name, peak in PEAKS.items() if name in of["device"]), None)
            share = f"{rate / peak:.1%} of its peak" if peak else "of no known peak"
            print(f"{case}, on {of['device']}: {of['tokens/s']:,.0f} tokens/s, {rate / 1e12:.3g} TFLOP/s,", end=" ")
            print(f"{share}; at most {of['MiB in all']:,.0f} MiB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:3] == ["--child", "make"]:
        make(*sys.argv[3:])
    elif sys.argv[1:3] == ["--child", "measure"]:
        print(json.dumps(measure(Case(**json.loads(sys.argv[3])), *sys.argv[4:])))
    else:
        parser = argparse.ArgumentParser(prog="python -m benchmarks.train")
        parser.add_argument("times", nargs="?", type=int, default=5)
        parser.add_argument("--mfu", action="store_true")
        parser.add_argument("--shape", choices=("qwen3-1.7b", "tiny"), default="qwen3-1.7b")
        given = parser.parse_args()
        utilisation(given.shape) if given.mfu else compare(given.times)
