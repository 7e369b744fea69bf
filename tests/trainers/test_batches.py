"""Which rows make up each step, their micro-batches, and their tensors."""

import random

import pytest
import torch

from trainers.batches import collate, microbatches, row_order
from trainers.rows import Row
from trainers.settings import TrainSettings


@pytest.mark.parametrize(("rows", "batch_size"), [(12, 4), (10, 4), (3, 8), (1, 1)])
def test_every_epoch_has_every_row_once(rows, batch_size):
    epochs = 6
    steps = -(-epochs * rows // batch_size)
    order = [i for batch in row_order(rows, batch_size, steps, seed=5) for i in batch]
    assert len(order) == steps * batch_size
    for epoch in range(epochs):
        assert sorted(order[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_epochs_have_different_orders():
    order = [i for batch in row_order(20, 5, 12, seed=1) for i in batch]
    assert len({tuple(order[i * 20 : (i + 1) * 20]) for i in range(3)}) == 3


def test_the_seed_decides_the_order():
    def order(seed, steps=7):
        return list(row_order(30, 8, steps, seed))

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1, steps=3) == order(1)[:3]


def test_a_fixed_order_does_not_depend_on_the_seed():
    for seed in (1, 2):
        assert list(row_order(5, 3, 4, seed, "fixed")) == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]]


def some_lengths(seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.choice([2, 3, 5, 8, 13, 40, 90]) + rng.randrange(5) for _ in range(rng.randrange(1, 30))]


def cost(lengths: list[int], batch: list[int], packed: bool) -> int:
    own = [lengths[place] for place in batch]
    return sum(own) if packed else max(own) * len(own)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_micro_batches_stay_within_the_limit_and_have_every_row_once(workers, packed):
    limit = 60
    for seed in range(30):
        lengths = some_lengths(seed)
        shares = microbatches(lengths, workers, limit, packed)
        assert len(shares) == workers
        # Workers wait for each other after every micro-batch, so all must have the same number.
        assert len({len(batches) for batches in shares}) == 1
        places = [place for batches in shares for batch in batches for place in batch]
        assert sorted(places) == list(range(len(lengths)))
        for batch in (batch for batches in shares for batch in batches if batch):
            assert len(batch) == 1 or cost(lengths, batch, packed) <= limit


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_micro_batches_are_filled_up_to_the_limit(packed):
    for seed in range(30):
        lengths = some_lengths(seed)
        (batches,) = microbatches(lengths, 1, 60, packed)
        for i in range(len(batches) - 1):
            assert cost(lengths, [*batches[i], batches[i + 1][0]], packed) > 60


def test_a_row_beyond_the_limit_makes_its_own_micro_batch():
    assert microbatches([100, 3, 4], 1, 10, packed=True) == [[[0], [2, 1]]]
    assert microbatches([100, 3, 4], 1, 10, packed=False) == [[[0], [2, 1]]]


def test_padding_counts_towards_the_limit_of_padded_rows():
    lengths = [10, 1, 1, 1]
    assert microbatches(lengths, 1, 20, packed=True) == [[[0, 1, 2, 3]]]
    assert microbatches(lengths, 1, 20, packed=False) == [[[0, 1], [2, 3]]]


def test_workers_get_similar_numbers_of_tokens():
    for seed in range(30):
        lengths = some_lengths(seed)
        totals = [
            sum(lengths[i] for batch in batches for i in batch) for batches in microbatches(lengths, 3, 60, packed=True)
        ]
        assert max(totals) - min(totals) <= max(lengths)


def test_workers_without_rows_have_empty_micro_batches():
    assert microbatches([5], 3, 60, packed=True) == [[[0]], [[]], [[]]]
    assert microbatches([50, 40, 30], 2, 60, packed=True) == [[[0], [2]], [[1], []]]


ROWS = [Row([5, 6, 7, 8], [2, 3]), Row([9, 4], [1]), Row([1, 3, 3], range(1, 3))]


def test_padded_rows_have_their_padding_on_the_right():
    batch = collate(ROWS, pad_id=0, packed=False)
    assert batch.ids.tolist() == [[5, 6, 7, 8], [9, 4, 0, 0], [1, 3, 3, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3]] * 3
    assert batch.layout is None
    assert batch.places_T.tolist() == [1, 2, 4, 8, 9]


def test_each_packed_row_starts_at_position_0():
    batch = collate(ROWS, pad_id=0, packed=True)
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9, 4, 1, 3, 3]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 2]]
    assert batch.places_T.tolist() == [1, 2, 4, 6, 7]
    # Attention has one block for the rows of 4 and 3 tokens, and one for the row of 2.
    assert batch.layout.blocks == ((2, 4), (1, 2))
    assert batch.layout.gather_N.tolist() == [0, 1, 2, 3, 6, 7, 8, 0, 4, 5]
    assert batch.layout.scatter_P.tolist() == [0, 1, 2, 3, 8, 9, 4, 5, 6]
    apart = batch.ids[0][batch.layout.gather_N]
    assert torch.equal(apart[batch.layout.scatter_P], batch.ids[0])


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_a_supervised_token_is_predicted_from_the_token_before_it(packed):
    batch = collate(ROWS, pad_id=3, packed=packed)
    assert batch.ids.flatten()[batch.places_T].tolist() == [6, 7, 9, 1, 3]
    assert batch.ids.flatten()[batch.places_T + 1].tolist() == batch.targets_T.tolist() == [7, 8, 4, 3, 3]
    assert batch.rows_T.tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_columns_stay_with_their_tokens(packed):
    rows = [Row([1, 2, 3], [1, 2], columns={"advantage": [0.5, -1.0]}), Row([4, 5], [1], columns={"advantage": [2.0]})]
    batch = collate(rows, pad_id=0, packed=packed)
    assert batch.columns.keys() == {"advantage"}
    assert batch.columns["advantage"].tolist() == [0.5, -1.0, 2.0]


def test_rows_without_a_supervised_token_contribute_only_their_ids():
    batch = collate([Row([1, 2], []), Row([3, 4, 5], [2])], pad_id=0, packed=True)
    assert (batch.places_T.tolist(), batch.targets_T.tolist(), batch.rows_T.tolist()) == ([3], [5], [1])


@pytest.mark.parametrize(
    ("rows", "epochs", "min_steps", "max_steps", "steps"),
    [
        (128, 1.0, 1, None, 4),
        (128, 2.0, 1, None, 8),
        (128, 0.5, 1, None, 2),
        (40, 1.0, 1, None, 1),
        (32, 1.0, 20, None, 20),
        (1, 0.1, 1, None, 1),
        (128, 2.0, 20, 5, 5),
    ],
)
def test_steps_come_from_epochs_min_steps_or_max_steps(rows, epochs, min_steps, max_steps, steps):
    settings = TrainSettings(
        learning_rate=1e-3, seed=0, dtype="float32", num_train_epochs=epochs, min_steps=min_steps, max_steps=max_steps
    )
    assert settings.steps(rows) == steps
