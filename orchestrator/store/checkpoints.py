"""The folders of checkpoints, for transformers and vLLM; local ones are those whose content the study has planned."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from evaluators.imports import IMPORTS
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store, sha256_file

# What transformers and vLLM do not read. All other files of a checkpoint may change what it computes.
IGNORED = (
    *("*.md", "LICENSE*", "NOTICE*", "USE_POLICY*", "*.png", "*.jpg", "*.pdf", ".*"),
    *("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.tflite"),
    *("trainer_state.json", "training_args.json", "all_results.json", "train_results.json", "eval_results.json"),
)


def folder_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that decide what a checkpoint computes, by file name."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not any(map(path.match, IGNORED)))
    return {path.name: file_checksum(path) for path in files}


def file_checksum(path: Path) -> str:
    """The SHA-256 of a file, which is read again only after it was written."""
    return _sha256(path, *_state(path))


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@cache
def _sha256(path: Path, size: int, modified: int, inode: int) -> str:
    return sha256_file(path)


def local_path(stage: Stage) -> str | None:
    """The folder of a local model, as the study gives it; None for other stages."""
    return getattr(stage.runtime, "path", None)


def checkpoint_of(store: Store, address: str, path: str | None) -> str:
    """The local folder of a checkpoint, by the address of the finished stage that has it.

    A local model is read from `path`. Raises ValueError if its content is not the one that was planned.
    """
    record = store.read_record(address)
    assert record is not None, f"{address} is not in the store"
    settings = record["identity"]["settings"]
    if "hub" in settings:
        with IMPORTS:
            from huggingface_hub import snapshot_download

        return snapshot_download(settings["hub"], revision=record["facts"]["commit"])
    if path is None:
        return str(store.folder(address, record))
    if folder_checksums(Path(path)) != settings["sha256"]:
        raise has_changed(path)
    return path


def adapter_of(store: Store, address: str) -> Path:
    """The local folder of a LoRA adapter, by the address of the finished stage that has it."""
    record = store.read_record(address)
    assert record is not None, f"{address} is not in the store"
    return store.folder(address, record)


def tensors_in(folder: Path) -> Iterator[tuple[str, str, list[int]]]:
    """The name, dtype and shape of each tensor of a checkpoint, by the headers of its safetensors; reads no weights."""
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        yield from ((name, tensor["dtype"], tensor["shape"]) for name, tensor in header.items())


def has_changed(path: str | Path) -> ValueError:
    """The error for a model that is no longer the one that was planned."""
    return ValueError(
        f"{path} has changed since the study was planned, and its results would count as those of the earlier model: "
        f"restore it, or start the study again with the changed model"
    )
