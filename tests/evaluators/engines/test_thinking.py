"""The final answer of a reasoning model."""

import pytest

from evaluators.engines.thinking import answer_start, strip_reasoning


@pytest.mark.parametrize(
    ("text", "prompt_opens_think_block", "answer"),
    [
        ("<think>2 + 2</think>\n\nIt is 4.", False, "It is 4."),
        ("2 + 2</think>It is 4.", True, "It is 4."),  # the chat template opens the block
        ("<think>a</think> no <think>b</think> 4", False, "4"),
        ("<think>2 + 2 is \\boxed{4}", False, ""),  # the block never closes
        ("2 + 2 is \\boxed{4}", True, ""),
        ("It is 4.", False, "It is 4."),
    ],
)
def test_reasoning_is_stripped(text, prompt_opens_think_block, answer):
    assert strip_reasoning(text, prompt_opens_think_block) == answer


def test_the_answer_starts_after_the_reasoning_or_at_the_last_box():
    assert answer_start("<think>a</think>b") == len("<think>a</think>")
    text = "\\boxed{1} no, \\boxed{2}"
    assert answer_start(text) == text.rindex("\\boxed")
    assert answer_start("plain") is None
