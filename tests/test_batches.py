"""Which rows make up each step, and their tensors."""

import pytest

from trainers.batches import pad, row_order
from trainers.settings import TrainSettings
from trainers.tokens import Row


@pytest.mark.parametrize(("rows", "batch_size"), [(12, 4), (10, 4), (3, 8), (1, 1)])
def test_every_epoch_goes_once_through_all_rows(rows, batch_size):
    epochs = 6
    steps = -(-epochs * rows // batch_size)
    order = [i for batch in row_order(rows, batch_size, steps, seed=5) for i in batch]
    assert len(order) == steps * batch_size
    for epoch in range(epochs):
        assert sorted(order[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_epochs_differ_in_their_order():
    order = [i for batch in row_order(20, 5, 12, seed=1) for i in batch]
    assert len({tuple(order[i * 20 : (i + 1) * 20]) for i in range(3)}) == 3


def test_the_order_belongs_to_the_seed():
    def order(seed, steps=7):
        return list(row_order(30, 8, steps, seed))

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1, steps=3) == order(1)[:3]


def test_rows_are_padded_on_the_right_and_only_answers_are_labelled():
    ids, labels = pad([Row([5, 6, 7, 8], 2), Row([9, 4], 1)], pad_id=3)
    assert ids.tolist() == [[5, 6, 7, 8], [9, 4, 3, 3]]
    assert labels.tolist() == [[-100, -100, 7, 8], [-100, 4, -100, -100]]


def test_an_answer_that_holds_the_padding_token_is_still_labelled():
    _, labels = pad([Row([5, 3, 3], 1), Row([9, 9, 9, 9], 3)], pad_id=3)
    assert labels.tolist() == [[-100, 3, 3, -100], [-100, -100, -100, 9]]


@pytest.mark.parametrize(
    ("rows", "epochs", "min_steps", "steps"),
    [(128, 1.0, 1, 4), (128, 2.0, 1, 8), (128, 0.5, 1, 2), (40, 1.0, 1, 1), (32, 1.0, 20, 20), (1, 0.1, 1, 1)],
)
def test_steps_follow_from_epochs_with_a_floor(rows, epochs, min_steps, steps):
    settings = TrainSettings(learning_rate=1e-3, seed=0, dtype="float32", epochs=epochs, min_steps=min_steps)
    assert settings.steps(rows) == steps
