"""What counts as a visit, and as whose: laws that hold for anything that a camera may see."""

import doctest
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer_app.camera import events, visits
from transfer_app.camera.visits import UNSURE, Rules, Seen, Visits

CAT, DOG = {"cat": 0.95, "dog": 0.05}, {"cat": 0.05, "dog": 0.95}
BOTH, THING, NOBODY = {"cat": 0.5, "dog": 0.5}, {}, None
RATE = 2


def told(scenes, rate=RATE, **rules):
    """The visits of a film of scenes, each with its seconds."""
    frames = [scores for scores, seconds in scenes for _ in range(round(seconds * rate))]
    return told_of(frames, rate, **rules)


def told_of(frames, rate=RATE, **rules):
    visits = Visits(Rules(**rules))
    found = []
    for number, scores in enumerate(frames):
        found += visits.add(Seen(number / rate, scores, picture=b"%d" % number))
    return found + visits.end()


def shortly(visits):
    return [(visit.label, visit.begin, visit.end) for visit in visits]


def test_a_visit_is_told_once_with_its_times_and_score():
    (visit,) = told([(NOBODY, 10), (CAT, 8), (NOBODY, 10)])
    assert (visit.label, visit.begin, visit.end) == ("cat", 10, 17.5)
    assert visit.score == pytest.approx(0.95)


@pytest.mark.parametrize("rate", [1, 2, 5, 60])
def test_visits_do_not_depend_on_the_rate(rate):
    film = [(NOBODY, 10), (CAT, 8), (NOBODY, 10), (DOG, 8), (NOBODY, 10), (BOTH, 8), (NOBODY, 10)]
    visits = told(film, rate)
    assert [visit.label for visit in visits] == ["cat", "dog", UNSURE]
    for visit, begin in zip(visits, (10, 28, 46), strict=True):
        assert visit.begin == begin
        assert visit.end == pytest.approx(begin + 8 - 1 / rate)


def test_the_open_visit_is_told_at_the_end():
    assert shortly(told([(NOBODY, 5), (DOG, 4)])) == [("dog", 5, 8.5)]


def test_a_pause_ends_a_visit_and_a_shorter_one_does_not():
    stay = (CAT, 6)
    assert len(told([stay, (NOBODY, 4.5), stay])) == 1
    assert len(told([stay, (NOBODY, 7), stay])) == 2


def test_one_odd_frame_neither_makes_nor_splits_nor_ends_a_visit():
    for odd in (CAT, DOG, THING):
        assert not told([(NOBODY, 5), (odd, 0.5), (NOBODY, 10)])
    for odd in (NOBODY, DOG, THING, BOTH):
        (visit,) = told([(NOBODY, 5), (CAT, 6), (odd, 0.5), (CAT, 6), (NOBODY, 10)])
        assert (visit.label, visit.begin, visit.end) == ("cat", 5, 17)


def test_single_frames_do_not_keep_a_visit_open():
    fly = [(NOBODY, 3.5), (THING, 0.5)]
    assert shortly(told([(NOBODY, 5), (CAT, 6), *(10 * fly)])) == [("cat", 5, 10.5)]


def test_another_animal_that_follows_at_once_is_another_visit():
    assert shortly(told([(NOBODY, 5), (CAT, 4), (DOG, 4), (NOBODY, 10)])) == [
        ("cat", 5, 8.5),
        ("dog", 9, 12.5),
    ]


def test_two_that_are_there_together_are_unsure_though_one_stays_longer():
    (visit,) = told([(NOBODY, 5), (BOTH, 8), (CAT, 4), (NOBODY, 10)])
    assert visit.label == UNSURE


def test_a_label_outlasts_frames_in_which_nothing_is_recognised():
    (visit,) = told([(NOBODY, 5), (THING, 1), (CAT, 4), (THING, 600), (NOBODY, 10)])
    assert (visit.label, visit.end) == ("cat", 609.5)


def test_a_thing_that_is_recognised_once_stays_unsure():
    assert [visit.label for visit in told([(THING, 20), (CAT, 0.5), (THING, 20)])] == [UNSURE]


def test_an_arrival_is_told_when_it_is_sure_and_not_again():
    visits = Visits(Rules(at_arrival=True))
    frames = [NOBODY] * 20 + [THING] + [CAT] * 20 + [NOBODY] * 20
    times = [
        number / RATE
        for number, scores in enumerate(frames)
        if any(visit.label == "cat" for visit in visits.add(Seen(number / RATE, scores)))
    ]
    assert times == [12.0]
    assert not visits.end()


def test_an_arrival_that_never_is_sure_is_told_when_it_has_left():
    (visit,) = told([(NOBODY, 5), (BOTH, 8), (NOBODY, 10)], at_arrival=True)
    assert (visit.label, visit.end) == (UNSURE, 12.5)


def test_the_picture_is_of_the_frame_that_is_surest():
    frames = [NOBODY, DOG, {"cat": 0.8}, {"cat": 0.99}, {"cat": 0.9}, CAT, CAT, CAT, CAT]
    (visit,) = told_of(frames)
    assert (visit.label, visit.picture) == ("cat", b"3")


def test_a_single_picture_counts_where_there_are_no_others():
    visits = Visits(Rules())
    seen = [Seen(0, NOBODY), Seen(100, CAT), Seen(200, NOBODY), Seen(300, DOG)]
    found = [visit for one in seen for visit in visits.add(one)] + visits.end()
    assert [visit.label for visit in found] == ["cat", "dog"]


def test_a_visit_ends_while_nothing_comes():
    visits = Visits(Rules(pause=5))
    for second in range(5):
        assert not visits.add(Seen(second, CAT))
    assert not visits.wait(9)
    assert shortly(visits.wait(9.5)) == [("cat", 0, 4)]
    assert not visits.end()


SCORES = st.one_of(
    st.sampled_from([CAT, DOG, BOTH, THING, NOBODY, NOBODY]),
    st.floats(0, 1).map(lambda share: {"cat": share, "dog": 1 - share}),
)
FILMS = st.lists(st.tuples(SCORES, st.floats(0.05, 4)), max_size=60)
RULES = st.builds(
    Rules,
    window=st.floats(0.1, 5),
    pause=st.floats(0.1, 8),
    least=st.sampled_from([0.0, 1.5]),
    sure=st.floats(0.51, 0.99),
    at_arrival=st.booleans(),
)


@given(FILMS, RULES)
def test_visits_are_told_in_order_apart_and_as_they_were_seen(film, rules):
    visits = Visits(rules)
    seen, found, now = [], [], 0.0
    for scores, seconds in film:
        now += seconds
        seen.append(Seen(now, scores))
        for visit in visits.add(seen[-1]):
            assert visit.end is None or visit.end <= now
            found.append(visit)
    found += visits.end()
    assert not visits.end()
    present = {one.time for one in seen if one.scores is not None}
    for visit in found:
        assert visit.begin in present
        assert visit.label in ("cat", "dog", UNSURE)
        assert 0 <= visit.score <= 1 + 1e-9
        assert visit.label == UNSURE or visit.score >= rules.sure - 1e-9
        assert (visit.end is None) <= (rules.at_arrival and visit.label != UNSURE)
        if visit.end is not None:
            assert visit.end in present
            assert visit.end - visit.begin >= rules.least
    for one, other in pairwise(found):
        assert one.begin < other.begin
        if one.end is not None:
            assert other.begin > one.end


@given(FILMS, RULES)
def test_arrivals_are_those_visits_that_are_sure_while_they_last(film, rules):
    """What is told does not change which visits there are."""
    begun = {}
    for at_arrival in (False, True):
        visits = Visits(Rules(rules.window, rules.pause, 0.0, rules.sure, at_arrival))
        now, found = 0.0, []
        for scores, seconds in film:
            now += seconds
            found += visits.add(Seen(now, scores))
        begun[at_arrival] = [visit.begin for visit in found + visits.end()]
    assert begun[False] == begun[True]


@given(st.lists(st.sampled_from([CAT, DOG, THING, BOTH]), min_size=4, max_size=200))
def test_somebody_who_stays_is_told_without_a_gap(frames):
    visits = told_of(frames)
    assert visits[0].begin == 0
    assert visits[-1].end == (len(frames) - 1) / RATE
    for one, other in pairwise(visits):
        assert other.begin == one.end + 1 / RATE


def test_examples_run():
    for module in (events, visits):
        failed, attempted = doctest.testmod(module)
        assert attempted and not failed
