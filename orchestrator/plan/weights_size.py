"""Whether the weights of the models fit into the memory of the GPUs that their engines use."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from evaluators.engines.split import GPU_MEMORY
from evaluators.imports import IMPORTS
from orchestrator.plan.resources import counted
from orchestrator.store.checkpoints import tensors_in
from orchestrator.study.models import HubModel, LocalModel, Model, TrainedModel
from orchestrator.study.schema import Study

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
CAST = {"F64", "F32", "F16", "BF16"}  # served in the study's dtype; quantised weights keep theirs
STORED = {"I64": 8, "I32": 4, "I16": 2, "U64": 8, "U32": 4, "U16": 2}  # the others have one byte
GB = 1e9


def served_bytes(elements: Mapping[str, int], dtype: str) -> int:
    """The bytes of served weights, from the number of elements by the dtype in which safetensors stores them."""
    return sum(count * (BYTES[dtype] if kind in CAST else STORED.get(kind, 1)) for kind, count in elements.items())


def elements_in(folder: Path) -> Counter[str]:
    """The number of elements of a checkpoint by dtype; reads no weights."""
    found: Counter[str] = Counter()
    for _, dtype, shape in tensors_in(folder):
        found[dtype] += math.prod(shape)
    return found


def elements_of(model: Model, study: Study) -> Mapping[str, int]:
    """The same of a model on this machine or on the hub; empty where it cannot be known without loading it."""
    if isinstance(model, TrainedModel):
        return elements_of(study.models[model.trained_from], study)
    if isinstance(model, LocalModel):
        return elements_in(Path(model.path))
    if not isinstance(model, HubModel):
        return {}
    with IMPORTS:
        import huggingface_hub

    try:
        found = huggingface_hub.model_info(model.hub, revision=model.revision)
    except Exception:  # noqa: BLE001  # Each way to have no network has an error of its own; another check names it.
        return {}
    return dict(found.safetensors.parameters) if found.safetensors is not None else {}


def too_large(names: Iterable[str], study: Study, memory: int) -> Iterator[str]:
    """A line for each of these models whose weights do not fit on its engine's GPUs, of `memory` bytes each."""
    room = GPU_MEMORY * memory
    for name in sorted(names):
        engine, model = study.resources.of_engine(name), study.models.get(name)
        if model is None or not engine.gpus:
            continue
        size = served_bytes(elements_of(model, study), study.dtype)
        if size > room * engine.gpus:
            enough = 2 ** math.ceil(math.log2(size / room))  # Layers are shared by powers of two.
            yield (
                f"models.{name}: its weights have {size / GB:,.1f} GB in {study.dtype}, and vLLM uses {room / GB:,.1f} "
                f"GB of a GPU here ({GPU_MEMORY:.0%} of {memory / GB:,.1f}), so they do not fit on "
                f"{counted(engine.gpus, 'GPU')}: set resources.engines.{name}.gpus={enough}, or use a cluster "
                f"(--address)"
            )
