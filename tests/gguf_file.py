"""Writes a small GGUF file: the weights of a toy model, with a byte-level tokenizer like SmolLM2's."""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType
from safetensors.torch import load_file

from organisms import shipped

HEADS, TOKENS = 3, 392
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# In the alphabet of byte-level BPE a line break is "Ċ" and a space "Ġ".
MERGES = ("Ċ Ċ", "Ġ Ġ")
BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]
ALPHABET = [chr(byte) for byte in BYTES] + [chr(256 + i) for i in range(256 - len(BYTES))]
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.layers.": "blk.",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.o_proj": "attn_output",
    "self_attn.": "attn_",
    "mlp.": "ffn_",
    "_proj": "",
}


def write_gguf(
    path: Path,
    template: str | None = TEMPLATE,
    pre: str = "smollm",
    add_bos: bool = False,
    without: str | None = None,
    more: dict[str, np.ndarray] | None = None,
    **metadata: Any,
) -> Path:
    """The toy model `steps` as a GGUF file in float32, without the tensor `without`, and with `more` tensors.

    In names of `metadata`, `__` stands for a dot.
    """
    writer = GGUFWriter(path, "llama")
    writer.add_name("A toy model")
    writer.add_context_length(2048)
    writer.add_embedding_length(96)
    writer.add_block_count(3)
    writer.add_feed_forward_length(264)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(TOKENS)
    words = [*SPECIAL, *ALPHABET, *(merge.replace(" ", "") for merge in MERGES)]
    unused = [f"unused{i}" for i in range(TOKENS - len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*words, *unused])
    writer.add_token_types([TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (TOKENS - len(SPECIAL)))
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(add_bos)
    if template is not None:
        writer.add_chat_template(template)
    for name, value in metadata.items():
        {int: writer.add_uint32, str: writer.add_string}[type(value)](name.replace("__", "."), value)
    for name, tensor in {**_tensors(), **(more or {})}.items():
        if name != without:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors() -> dict[str, np.ndarray]:
    """The weights of `steps` with the names and the order of rows that llama.cpp has."""
    tensors = {}
    for name, tensor in load_file(shipped.FOLDER / "steps" / "model.safetensors").items():
        value = tensor.float().numpy()
        if "q_proj" in name or "k_proj" in name:  # llama.cpp rotates neighbours, transformers halves.
            value = value.reshape(HEADS, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        tensors[name] = np.ascontiguousarray(value)
    return tensors
