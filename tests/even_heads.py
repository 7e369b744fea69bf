"""Random models that two processes can share: they have four attention heads, and the toy models have three."""

from pathlib import Path

from organisms import shipped


def write_with_even_heads(first: Path, second: Path, adapter: Path) -> None:
    """Write two checkpoints, and an adapter for either."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")
    for seed, folder in enumerate((first, second), start=1):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.2,  # so that no two tokens are about as likely
        )
        model = LlamaForCausalLM(config)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    lora = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(adapter)
