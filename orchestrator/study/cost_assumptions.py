"""What prices are worked out from: assumptions, each of which a study may replace by what it has measured or pays.

None of these figures is a measurement of ours or a quotation: they are round guesses for one 80 GB GPU of the Hopper
generation, and a plan prints them beside the price that they make.
"""

from pydantic import Field

from orchestrator.study.settings import Settings

PEAK_TFLOPS = 989.0  # assumption: dense bfloat16 of an H100 SXM, as its data sheet has it
TRAINING_MFU = 0.3  # assumption: rows of some hundred tokens, packed, one process
SAMPLING_SPEED = 40_000.0  # assumption: full batches in bfloat16, the same for every size
ANSWER_SHARE = 0.5  # assumption: few answers are as long as they may be
PROMPT_TOKENS = 150.0  # assumption: an Alpaca prompt or a problem, with its chat template
FULL_FLOP, LORA_FLOP, FORWARD_FLOP = 6, 4, 2  # a token and parameter; LoRA has no gradient of the weights that it keeps


class TokenPrice(Settings):
    """US dollars for a million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class CostAssumptions(Settings):
    """What `offmodel plan` assumes to say what a study costs. Nothing here changes a result."""

    api: dict[str, TokenPrice] = Field({}, description="of models behind an API, by alias")
    peak_tflops: float = Field(PEAK_TFLOPS, gt=0, description="of one GPU")
    training_mfu: float = Field(TRAINING_MFU, gt=0, le=1, description="the share of the peak that training reaches")
    sampling_speed: float = Field(
        SAMPLING_SPEED, gt=0, description="tokens a second that one GPU samples of a model of 1e9 parameters"
    )
    answer_share: float = Field(
        ANSWER_SHARE, gt=0, le=1, description="mean length of an answer, of the most it may have"
    )
    prompt_tokens: float = Field(PROMPT_TOKENS, gt=0, description="mean length of a prompt")

    def __str__(self) -> str:
        return (
            f"an answer has {self.answer_share:.0%} of the tokens that it may have and a prompt "
            f"{self.prompt_tokens:g}; one GPU samples {self.sampling_speed:,.0f} tokens a second, divided by a model's "
            f"parameters in 1e9; training takes {FULL_FLOP} FLOP a token and parameter ({LORA_FLOP} with LoRA), a look "
            f"at likelihoods {FORWARD_FLOP}, at {self.training_mfu:.0%} of {self.peak_tflops:g} TFLOP/s; the start of "
            f"engines, reading prompts and further models of an objective are not counted"
        )
