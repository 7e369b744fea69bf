"""Weights that do not fit on the GPUs of an engine are found before a run."""

import json

import pytest

from orchestrator.plan.weights_size import elements_in, served_bytes, too_large
from orchestrator.run.preflight import check_memory
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.settings import StudyError
from organisms import shipped

STEPS = shipped.FOLDER / "steps"


def checkpoint(folder, tensors: dict[str, tuple[str, list[int]]]):
    """A safetensors file with this header and no data."""
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, (dtype, shape) in tensors.items()
    }
    encoded = json.dumps({**header, "__metadata__": {"format": "pt"}}).encode()
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(len(encoded).to_bytes(8, "little") + encoded)
    return folder


def test_the_elements_of_a_checkpoint_are_counted_without_its_weights(tmp_path):
    folder = checkpoint(tmp_path, {"a": ("BF16", [3, 4]), "b": ("F8_E4M3", [10]), "c": ("BF16", [2])})
    assert elements_in(folder) == {"BF16": 14, "F8_E4M3": 10}


def test_a_shipped_checkpoint_has_as_many_bytes_as_transformers_counts():
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(STEPS)
    stored = sum(elements_in(STEPS).values())
    assert stored == sum(weight.numel() for weight in model.parameters())  # tied weights once, in both


@pytest.mark.parametrize(
    ("elements", "dtype", "size"),
    [
        ({"F32": 10}, "bfloat16", 20),
        ({"BF16": 10}, "float32", 40),
        ({"F8_E4M3": 10, "F32": 1}, "bfloat16", 12),
        ({"I32": 10}, "float16", 40),  # GPTQ and AWQ pack eight weights into one
    ],
)
def test_what_is_quantised_keeps_its_size_and_the_rest_is_served_in_the_dtype(elements, dtype, size):
    assert served_bytes(elements, dtype) == size


def study_of(small, folder, *overrides: str):
    return small(f"models.large={{path: '{folder}'}}", "dtype=bfloat16", *overrides)


def test_the_message_names_the_number_of_gpus_that_hold_the_weights(small, tmp_path):
    folder = checkpoint(tmp_path / "large", {"a": ("BF16", [32_000_000_000])})
    (message,) = too_large(["large"], study_of(small, folder, "resources.engine.gpus=1"), 24_000_000_000)
    assert message == (
        "models.large: its weights have 64.0 GB in bfloat16, and vLLM uses 21.6 GB of a GPU here (90% of 24.0), so "
        "they do not fit on 1 GPU: set resources.engines.large.gpus=4, or use a cluster (--address)"
    )
    fitting = study_of(small, folder, "resources.engine.gpus=1", "resources.engines.large.gpus=4")
    assert not list(too_large(["large"], fitting, 24_000_000_000))


def test_engines_without_gpus_and_toy_models_are_not_checked(small, tmp_path):
    folder = checkpoint(tmp_path / "large", {"a": ("BF16", [32_000_000_000])})
    assert not list(too_large(["large", "organisms"], study_of(small, folder), 1))


def test_only_what_a_run_still_asks_is_checked(small, tmp_path):
    folder = checkpoint(tmp_path / "large", {"a": ("BF16", [32_000_000_000])})
    study = study_of(small, folder, "resources.engine.gpus=1")
    sample = Stage("sample", 1, "x", None, {}, Runtime(engine="large", uses_engine=True))
    check_memory([], study, 24_000_000_000)
    check_memory([sample], study, None)
    with pytest.raises(StudyError, match="do not fit on 1 GPU"):
        check_memory([sample], study, 24_000_000_000)
