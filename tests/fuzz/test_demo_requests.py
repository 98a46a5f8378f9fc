"""The demo shows and keeps nothing but what was uploaded to it, whatever it is asked."""

import pytest

from tests.fuzz.demo_requests import KINDS, attack


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_requests_show_nothing_and_leave_the_demo_at_work(kind, tmp_path):
    counts = attack(kind, 60, tmp_path)
    assert counts["200"] > 10 and counts["404"] > 10 and counts["call refused"] > 5
