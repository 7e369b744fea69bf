"""How results travel from an engine; the engines themselves run in test_end_to_end.py."""

from orchestrator.run.engines import in_chunks


def test_a_chunk_ends_with_the_first_result_after_its_time():
    now = 0.0

    def results():
        nonlocal now
        yield from (1, 2)
        now += 5
        yield from (3, 4)

    assert list(in_chunks(results(), 10, lambda: now)) == [[1, 2, 3, 4]]
    assert list(in_chunks(results(), 4, lambda: now)) == [[1, 2, 3], [4]]
    assert list(in_chunks([], 10)) == []
