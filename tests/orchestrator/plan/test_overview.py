"""What `offmodel plan` prints and refuses."""

import pytest

from orchestrator.cli import main

PROBLEMS = "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}"


@pytest.fixture
def planned(small, tmp_path, monkeypatch, capsys):
    """The exit status and all output of `offmodel plan` on the small study, with overrides."""
    small()  # writes the file

    def act(*overrides: str) -> tuple[int, str]:
        words = ["plan", str(tmp_path / "small.yaml"), f"store={tmp_path / 'runs'}", *overrides]
        monkeypatch.setattr("sys.argv", ["offmodel", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    return act


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (["train.batch_size=10"], "Trainings: 14, of 1 to 2 steps."),
        (["train={learning_rate: 1, max_steps: 3, num_train_epochs: 2}"], "num_train_epochs has no effect where"),
        ([PROBLEMS, "conditions.x={kind: off_model, train: {objective: grpo}}"], "conditions.x trains on rl_problems"),
        (["pairs=[student / student]"], "pairs: student is its own teacher"),
        (["resources.engine.gpus=1"], "resources.train.gpus is 0: trainings run on CPUs"),
        (["benchmarks.gsm={kind: 'lm_eval:gsm8k', n: 2}"], "without those of lm-eval tasks"),
    ],
)
def test_what_a_user_may_not_expect_is_noted(planned, overrides, note):
    status, output = planned(*overrides)
    assert status == 0
    assert note in output
    assert note == "Trainings: 14, of 1 to 2 steps." or note not in planned()[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.checkpoints=[2]", "train.checkpoints: 2 is beyond the 1 steps of"),
        (
            "hypotheses=[{claim: x, compare: {condition: on-model, benchmark: maths}, group_by: a, expected: lower}]",
            'group_by: "a" is not among the parts of maths',
        ),
    ],
)
def test_what_the_rows_do_not_have_is_refused(planned, override, message):
    status, output = planned(override)
    assert status == 2
    assert message in output


def test_sharing_is_only_said_of_several_experiments(planned):
    one, other = (
        f"{{experiment: {n}, claim: x, compare: {{condition: on-model, benchmark: maths}}, expected: lower}}"
        for n in (1, 2)
    )
    alone = "{claim: y, compare: {condition: off-model, benchmark: facts}, expected: lower}"
    assert "Shared stages" not in planned(f"hypotheses=[{one}, {alone}]")[1]
    _, output = planned(f"hypotheses=[{one}, {other}, {alone}]")
    assert "the 2 experiments need" in output
    assert "Expected lower: y" in output
