"""What the fleet does with results on their way; the fleet itself runs in test_end_to_end.py."""

import time

from orchestrator.run.engines import in_chunks


def test_results_come_in_chunks_by_the_time_that_they_take():
    def results():
        yield from (1, 2)
        time.sleep(0.05)
        yield from (3, 4)

    assert list(in_chunks(results(), 10)) == [[1, 2, 3, 4]]
    assert list(in_chunks(results(), 0.03)) == [[1, 2, 3], [4]]
    assert list(in_chunks([], 10)) == []
