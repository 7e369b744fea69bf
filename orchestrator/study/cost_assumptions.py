"""What the cost of a study is estimated from: assumptions, each of which a study may replace by its own figure.

None of these figures was measured here or quoted by a vendor: they are round guesses for one 80 GB GPU of the Hopper
generation.
"""

from pydantic import Field

from orchestrator.study.settings import Settings

FULL_FLOP, LORA_FLOP, FORWARD_FLOP = 6, 4, 2  # per token and parameter; LoRA needs no gradient of the frozen weights


class TokenPrice(Settings):
    """US dollars per million tokens."""

    input: float = Field(ge=0, description="US dollars per million tokens of prompts")
    output: float = Field(ge=0, description="US dollars per million tokens of completions")


class CostAssumptions(Settings):
    """What `offmodel plan` estimates costs from. Nothing here changes a result."""

    api: dict[str, TokenPrice] = Field({}, description="prices of models behind an API, by their key in models")
    # Dense bfloat16 of an H100 SXM, by its data sheet.
    peak_tflops: float = Field(989.0, gt=0, description="TFLOP/s of one GPU")
    # Packed rows of some hundred tokens, one process.
    training_mfu: float = Field(0.3, gt=0, le=1, description="share of the peak that training reaches (MFU)")
    # Full batches in bfloat16, the same for every size.
    sampling_speed: float = Field(
        40_000.0, gt=0, description="tokens per second that one GPU samples from a model of 1e9 parameters"
    )
    # Few completions reach max_tokens.
    answer_share: float = Field(0.5, gt=0, le=1, description="mean length of a completion as a share of its max_tokens")
    # An Alpaca prompt or a problem, with its chat template.
    prompt_tokens: float = Field(150.0, gt=0, description="mean length of a prompt in tokens")
    # The machine boots, and pulls an image that holds torch and vLLM.
    node_start_minutes: float = Field(
        10.0, ge=0, description="minutes from the launch of a cluster's node until it works (plan --cluster)"
    )

    def __str__(self) -> str:
        return (
            f"a completion has {self.answer_share:.0%} of its max_tokens and a prompt {self.prompt_tokens:g} tokens; "
            f"one GPU samples {self.sampling_speed:,.0f} tokens per second divided by the parameters in 1e9; training "
            f"takes {FULL_FLOP} FLOP per token and parameter ({LORA_FLOP} with LoRA) and log-probabilities "
            f"{FORWARD_FLOP}, at {self.training_mfu:.0%} of {self.peak_tflops:g} TFLOP/s; engine starts, prefill and "
            f"reference models are not counted"
        )
