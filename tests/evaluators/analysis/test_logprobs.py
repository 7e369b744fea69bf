"""Perplexity and KL divergence from log-probabilities."""

import numpy as np
import pytest

from evaluators.analysis.logprobs import CompletionLogprobs, nll, requests_by_text, requests_by_token_ids
from evaluators.engines.generations import Generation
from evaluators.engines.requests import Completion, TokenLogprobs

TEXT = "so it is \\boxed{4}"


def rows(sums: list[float], tokens: list[int]) -> list[CompletionLogprobs]:
    return [
        CompletionLogprobs(str(i), {"all": s}, {"all": n}) for i, (s, n) in enumerate(zip(sums, tokens, strict=True))
    ]


def test_logprobs_are_summed_by_part():
    one = CompletionLogprobs.of(
        "a", TokenLogprobs(token_ids=(1, 2, 3), logprobs=(-1.0, -2.0, -4.0), greedy=(True, True, False), answer_start=2)
    )
    assert one.logprob == {"all": -7, "reasoning": -3, "answer": -4}
    assert one.tokens == {"all": 3, "reasoning": 2, "answer": 1}
    assert nll([one]).classes == ["all", "reasoning", "answer"]
    without = TokenLogprobs(token_ids=(1,), logprobs=(-1.0,), greedy=(True,), answer_start=None)
    assert nll([CompletionLogprobs.of("a", without)]).classes == ["all"]


def test_the_mean_is_over_tokens_and_the_interval_over_completions():
    found = nll(rows([-2.0, -12.0], [2, 4])).per_token()
    assert found.value == pytest.approx(14 / 6)
    assert found.low < found.value < found.high
    assert nll(rows([-2.0, -4.0], [2, 4])).per_token().low == pytest.approx(1.0)


def test_the_interval_has_its_nominal_coverage():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        lengths = rng.integers(5, 60, 200)
        sums = -(lengths * 0.3 + rng.normal(0, np.sqrt(lengths)))
        found = nll(rows(sums.tolist(), lengths.tolist())).per_token()
        hits += found.low <= 0.3 <= found.high
    assert 0.91 < hits / 300 < 0.985


def test_data_is_scored_as_text_and_samples_as_token_ids():
    chat = [{"role": "user", "content": "?"}]
    plain = Generation(
        id="a",
        prompt=chat,
        prompt_token_ids=(1, 2),
        completions=(Completion(token_ids=(3, 4), text=TEXT, truncated=False),),
    )
    prefilled = Generation(
        id="b",
        prompt=chat,
        prompt_token_ids=(1, 2),
        prefill_token_ids=(3,),
        completions=(Completion(token_ids=(3, 4), text=TEXT, truncated=False),),
    )
    (request,) = requests_by_text([[*chat, {"role": "assistant", "content": TEXT}]])
    assert (request.prompt, request.prefill, request.answer_start) == (chat, TEXT, TEXT.index("\\boxed"))
    drawn = requests_by_token_ids([plain, prefilled])
    assert (drawn[0].prompt, drawn[0].prefill) == ((1, 2), (3, 4))
    assert (drawn[1].prompt, drawn[1].prefill, drawn[1].answer_start) == ((1, 2, 3), (4,), None)
