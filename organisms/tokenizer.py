"""A tokenizer with one token for each word of the world, and byte fallback for everything else."""

from pathlib import Path

from organisms.world import VOCABULARY

PAD, BOS, END, SYSTEM, USER, ASSISTANT = "<pad>", "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (PAD, BOS, END, SYSTEM, USER, ASSISTANT)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def save_tokenizer(folder: Path, context: int) -> None:
    """Write a fast tokenizer with its chat template into `folder`; `context` is its `model_max_length`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [(token, 0.0) for token in SPECIAL] + [("<unk>", 0.0)]
    pieces += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    pieces += [("▁", -10.0)] + [(f"▁{word}", -1.0) for word in VOCABULARY]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=len(SPECIAL), byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=END, pad_token=PAD, model_max_length=context
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
