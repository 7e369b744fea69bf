"""Prompts, grades and summaries of a benchmark."""

from dataclasses import replace

import pytest

from evaluators.engines.generations import Generation, LmEvalGrade, content_ids, from_jsonl, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.evaluate import chats_of, example_ids, grade, graded_by_lm_eval, read_graded, summary

ROWS = [{"problem": f"{i} + {i} = ?", "answer": str(2 * i), "level": i, "subject": "sums"} for i in (1, 2, 3)]


def generations(*texts: tuple[str, ...], prefill: tuple[int, ...] = ()) -> list[Generation]:
    """Generations for the rows, with one token for each word; the text "cut" is a truncated completion."""
    made = []
    for id, row, each in zip(example_ids("math500", ROWS), ROWS, texts, strict=True):
        answers = [
            Completion(token_ids=(*prefill, *range(len(text.split()))), text=text, truncated=text == "cut")
            for text in each
        ]
        made.append(
            Generation(
                id=id,
                prompt=[{"role": "user", "content": row["problem"]}],
                prompt_token_ids=(1, 2),
                prefill_token_ids=prefill,
                completions=tuple(answers),
            )
        )
    return made


ONE_EACH = generations(("it is 4",), ("so \\boxed{4}",), ("it is just \\boxed{4}",))
FOUR_EACH = generations(
    ("\\boxed{2}", "\\boxed{2}", "\\boxed{3}", "cut"),
    ("\\boxed{3}", "\\boxed{3}", "\\boxed{4}", "cut"),
    ("cut", "cut", "cut", "cut"),
)


def test_a_completion_that_failed_is_wrong_and_is_counted_apart():
    answered = Completion(token_ids=(1, 2), text="\\boxed{4}", truncated=False)
    lost = Completion(text="", truncated=False, error="flagged")
    each = [replace(one, completions=(answered, lost)) for one in ONE_EACH]
    graded = grade("math500", ROWS, each)
    assert [one.score for one in graded] == [0, 0.5, 0]
    assert graded[1].verdicts[1].note == "there is no completion: flagged"
    facts = summary(each, graded)
    assert (facts["failed"], facts["grading_failed"], facts["mean_length"]) == (3, 0, 2)
    assert "failed" not in summary(ONE_EACH, grade("math500", ROWS, ONE_EACH))


def test_a_reason_is_stored_where_there_is_one():
    (text,) = to_jsonl([ONE_EACH[0]]).splitlines()
    assert "error" not in text
    lost = replace(ONE_EACH[0], completions=(Completion(text="", truncated=False, error="flagged"),))
    assert from_jsonl(to_jsonl([lost])) == [lost]


def test_an_id_depends_on_the_content_and_repeated_content_is_numbered():
    row = {"problem": "x", "answer": "1", "level": 2}
    first, second, third = content_ids([row, dict(reversed(row.items())), {**row, "level": 3}])
    assert second == f"{first}-2"
    assert third not in (first, second)
    assert example_ids("olympiadbench", [row]) != example_ids("math500", [row])


def test_examples_are_graded_in_the_order_of_the_rows():
    graded = grade("math500", ROWS, ONE_EACH)
    assert [one.score for one in graded] == [0, 1, 0]
    assert [one.verdicts[0].parsed for one in graded] == [False, True, True]
    assert [one.group for one in graded] == [{"level": i, "subject": "sums"} for i in (1, 2, 3)]
    assert [one.id for one in graded] == example_ids("math500", ROWS)


def test_by_chance_a_completion_is_graded_against_the_next_example():
    texts = ("\\boxed{4}", "\\boxed{2}"), ("\\boxed{4}", "\\boxed{6}"), ("\\boxed{2}", "\\boxed{2}")
    graded = grade("math500", ROWS, generations(*texts), "mean by chance")
    assert [one.score for one in graded] == [0.5, 0.5, 1]
    assert [one.group["level"] for one in graded] == [1, 2, 3]
    assert [one.score for one in grade("math500", ROWS, generations(*texts), "pass@2 by chance")] == [1, 1, 1]


def test_generations_of_other_rows_are_refused():
    with pytest.raises(AssertionError, match="do not match the rows"):
        grade("math500", ROWS, [ONE_EACH[1], ONE_EACH[0], ONE_EACH[2]])


def test_reasoning_is_not_graded():
    texts = ("\\boxed{2}</think>it is \\boxed{3}",), ("\\boxed{4}",), ("</think>\\boxed{6}",)
    plain = generations(*texts)
    assert [one.score for one in grade("math500", ROWS, plain)] == [0, 1, 1]
    opened_by_the_prompt = [replace(one, prompt_opens_think_block=True) for one in plain]
    assert [one.score for one in grade("math500", ROWS, opened_by_the_prompt)] == [0, 0, 1]


def test_a_chosen_option_is_graded_also_inside_a_think_block():
    rows = [{"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 1}]
    chosen = Completion(token_ids=(1,), text="B", truncated=False, option_logprobs=(-2.0, -0.1, -3.0, -4.0))
    generation = [
        Generation(
            id=example_ids("mmlu", rows)[0],
            prompt=[],
            prompt_token_ids=(1,),
            completions=(chosen,),
            prompt_opens_think_block=True,
        )
    ]
    assert [one.score for one in grade("mmlu", rows, generation)] == [1]


@pytest.mark.parametrize(
    ("aggregation", "scores"), [("mean", [0.5, 0.25, 0]), ("majority", [1, 0, 0]), ("pass@2", [1 - 1 / 6, 0.5, 0])]
)
def test_several_completions_make_one_score(aggregation, scores):
    assert [one.score for one in grade("math500", ROWS, FOUR_EACH, aggregation)] == pytest.approx(scores)


def test_the_summary_of_one_sample():
    prefilled = generations(("it is 4",), ("so \\boxed{4}",), ("cut",), prefill=(7, 7))
    facts = summary(prefilled, grade("math500", ROWS, prefilled))
    assert (facts["n"], facts["samples"]) == (3, 1)
    assert facts["accuracy"] == pytest.approx(1 / 3)
    assert facts["truncated"] == pytest.approx(1 / 3)
    assert facts["unparsed"] == pytest.approx(2 / 3)
    assert facts["grading_failed"] == 0
    assert facts["tokens"] == 3 + 2 + 1
    assert (facts["mean_length"], facts["median_length"]) == (4, 4)
    assert facts["p95_length"] == pytest.approx(4.9)
    assert facts["groups"] == {"level": {"1": 0.0, "2": 1.0, "3": 0.0}, "subject": {"sums": pytest.approx(1 / 3)}}
    assert "pass" not in facts


def test_the_summary_of_several_samples_has_pass_at_k():
    facts = summary(FOUR_EACH, grade("math500", ROWS, FOUR_EACH, "majority"))
    assert facts["accuracy"] == pytest.approx(1 / 3)
    assert facts["mean"] == pytest.approx(0.25)
    assert facts["pass"] == {
        "1": pytest.approx(0.25),
        "2": pytest.approx((5 / 6 + 0.5) / 3),
        "4": pytest.approx(2 / 3),
    }


def test_lm_eval_grades_its_own_tasks():
    own = [
        Generation(
            id="a",
            prompt=[],
            completions=(Completion(token_ids=(1,), text="x", truncated=False),) * 3,
            lm_eval=LmEvalGrade(task="gsm8k", score=0.25, metrics={"acc": 1.0, "norm": 0.25}),
        )
    ]
    (graded,) = graded_by_lm_eval(own)
    assert (graded.score, graded.group) == (0.25, {"task": "gsm8k"})
    assert "pass" not in summary(own, [graded]), "the score is of all three completions"
    assert from_jsonl(to_jsonl(own)) == own


def test_generations_and_grades_are_read_as_written(tmp_path):
    assert from_jsonl(to_jsonl(FOUR_EACH)) == FOUR_EACH
    graded = grade("math500", ROWS, FOUR_EACH)
    (tmp_path / "grades.jsonl").write_text(to_jsonl(graded))
    assert read_graded(tmp_path / "grades.jsonl") == graded


def test_the_system_prompt_comes_first():
    chats = chats_of("math500", ROWS, "{problem}", system="be brief")
    assert [message["role"] for message in chats[0]] == ["system", "user"]
    assert chats[0][0]["content"] == "be brief"
    assert chats_of("math500", ROWS, "{problem}")[0] == chats[0][1:]


def test_a_prompt_that_names_a_missing_column_is_refused():
    with pytest.raises(ValueError, match=r"\{question\}"):
        chats_of("math500", ROWS, "{question}")
