"""What a cluster that does not answer is called."""

import pytest

from orchestrator.jobs.client import connect
from orchestrator.study.settings import StudyError


def test_a_port_with_the_digits_of_a_refusal_is_not_taken_for_one():
    with pytest.raises(StudyError, match=r"http://127\.0\.0\.1:1403 does not answer"):
        connect("http://127.0.0.1:1403")
