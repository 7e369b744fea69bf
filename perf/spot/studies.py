"""The studies of the simulated week: students of 8B to 32B, with LoRA on one GPU, with full weights on four and eight.

One study gives all its trainings the same resources, so these are three. They share samples and evaluations of
untrained models, as studies with the same store do. The simulation runs them as one.
"""

from orchestrator.study.schema import Study

HUB = {
    "qwen": ("Qwen/Qwen3-8B", 8.2e9),
    "llama": ("meta-llama/Llama-3.1-8B-Instruct", 8.0e9),
    "gemma": ("google/gemma-2-9b-it", 9.2e9),
    "qwen-32b": ("Qwen/Qwen3-32B", 32.8e9),
    "olmo-32b": ("allenai/OLMo-2-0325-32B-Instruct", 32.2e9),
}
SMALL = ["qwen", "llama", "gemma"]
MOST_REPLICAS = 8


def studies(prompts: int, seeds: int) -> list[Study]:
    """`prompts` of each teacher; a study of 30,000 prompts and 3 seeds takes about a week on 64 GPUs."""
    full = {"tuning": "full", "learning_rate": 1e-5}
    return [
        _study("lora", SMALL, ["qwen", "llama", "qwen-32b", "olmo-32b"], {"tuning": "lora"}, 1, prompts, seeds),
        _study("full", SMALL, ["qwen", "llama", "qwen-32b"], full, 4, prompts, seeds),
        _study("large", ["qwen-32b", "olmo-32b"], ["qwen-32b", "olmo-32b", "llama"], full, 8, prompts, seeds),
    ]


def _study(
    name: str, students: list[str], teachers: list[str], train: dict, workers: int, prompts: int, seeds: int
) -> Study:
    return Study.model_validate(
        {
            "name": name,
            "store": "runs",
            "models": {
                alias: {"hub": hub, "parameters": parameters}
                for alias, (hub, parameters) in HUB.items()
                if alias in students + teachers
            },
            "pairs": {"students": students, "teachers": teachers},
            "prompts": {"source": "synthetic", "n": prompts},
            "sampling": {"max_tokens": 8192},
            "train": {"learning_rate": 1e-4, "num_train_epochs": 2, "max_length": 10240, **train},
            "conditions": {
                "off-model": None,
                "on-model": None,
                "a quarter on-model": {"kind": "mixed", "share": 0.25},
                "lowest perplexity": {"kind": "perplexity_filter", "quantiles": [0.0, 0.5]},
            },
            "recoveries": {
                "on-model samples": {
                    "kind": "on_model_sft",
                    "conditions": ["off-model"],
                    "budgets": [prompts // 64, prompts // 8, prompts // 2],
                }
            },
            "benchmarks": {
                "maths": {"kind": "math500", "n": 500, "max_tokens": 16384, "samples": 4, "temperature": 0.6},
                "olympiads": {"kind": "olympiadbench", "n": 675, "max_tokens": 16384, "samples": 4, "temperature": 0.6},
                "facts": {"kind": "mmlu", "n": 2000, "max_tokens": 2048},
            },
            "measures": {"perplexity": True},
            "seeds": list(range(1, seeds + 1)),
            "dtype": "bfloat16",
            "max_model_len": 20480,
            "resources": {
                "max_concurrent_trials": 64,
                "train": {"gpus": 1, "cpus": 4, "workers": workers, "zero": 3 if workers > 1 else 0},
                "engine": {"gpus": 1, "cpus": 4, "replicas": MOST_REPLICAS},
                "engines": {
                    alias: {"gpus": 2} for alias in HUB if alias.endswith("32b") and alias in students + teachers
                },
            },
        }
    )
