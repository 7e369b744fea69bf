"""Where the weights of a call are on a node of an engine."""

from pathlib import Path

from orchestrator.store.checkpoints import adapter_of, checkpoint_of
from orchestrator.store.context import Weights
from orchestrator.store.store import Store
from orchestrator.store.temporary import fetch_temporary


def local_weights(store: Store, weights: Weights, scratch: Path) -> tuple[str, Path | None]:
    """Local folders of checkpoint and adapter, fetched if they are not there; those of a bucket's temporary weights are
    in `scratch`. A temporary folder keeps its name, by which vLLM knows it."""
    if weights.temporary:
        path = weights.adapter or weights.base
        temporary = fetch_temporary(store, path, scratch / path.rsplit("/", 1)[-1])
        if weights.adapter is None:
            return str(temporary), None
        return checkpoint_of(store, weights.base, weights.path), temporary
    if weights.adapter is None:
        return checkpoint_of(store, weights.base, weights.path), None
    return checkpoint_of(store, weights.base, weights.path), adapter_of(store, weights.adapter)
