"""Which versions are loaded and which answers follows from what is published, what is damaged and the plan alone."""

from hypothesis import given
from hypothesis import strategies as st

from bascule.v1.model_admin_service_pb2 import Canary, ServingPlan
from bascule_server.versions.choice import is_of_canary, stable_version, wanted_versions
from bascule_server.versions.plan import roles

versions = st.integers(1, 6)
some = st.sets(versions)
weights = st.floats(0, 1)
user_ids = st.text(max_size=20)


@st.composite
def plans(draw: st.DrawFn) -> ServingPlan:
    stable, canary, shadow, *also = draw(st.permutations(range(1, 7)))
    stable, canary, shadow = (draw(st.sampled_from([0, version])) for version in (stable, canary, shadow))
    return ServingPlan(
        stable=stable, canary=Canary(version=canary), shadow=shadow, also=also[: draw(st.integers(0, len(also)))]
    )


def named(plan: ServingPlan) -> set[int]:
    return set(roles(plan).values()) - {0}


@given(some, some, plans())
def test_what_is_wanted_is_published_whole_and_there_once(
    published: set[int], damaged: set[int], plan: ServingPlan
) -> None:
    wanted = wanted_versions(published, damaged, plan)
    assert set(wanted) <= published - damaged
    assert len(wanted) == len(set(wanted))
    assert set(wanted) >= named(plan) & (published - damaged)


@given(some, some, plans())
def test_the_stable_version_is_loaded_first_or_else_the_newest_without_a_role(
    published: set[int], damaged: set[int], plan: ServingPlan
) -> None:
    usable = published - damaged
    wanted = wanted_versions(published, damaged, plan)
    without_role = usable - named(plan)
    if plan.stable in usable:
        assert wanted[0] == plan.stable
        assert set(wanted) == named(plan) & usable
    elif without_role:
        assert wanted[0] == max(without_role)
        assert set(wanted[1:]) == named(plan) & usable
    assert bool(wanted) == bool(usable)


@given(some, plans(), versions | st.just(0))
def test_whoever_answers_serves_and_somebody_does_where_any_serve(
    serving: set[int], plan: ServingPlan, before: int
) -> None:
    assert stable_version(serving, plan, before) in (serving or {0})


@given(some, plans(), versions | st.just(0))
def test_the_one_of_the_plan_answers_or_whichever_did_or_the_newest_without_a_role(
    serving: set[int], plan: ServingPlan, before: int
) -> None:
    stable = stable_version(serving, plan, before)
    without_role = serving - named(plan)
    if plan.stable in serving:
        assert stable == plan.stable
    elif plan.stable and before in without_role:
        assert stable == before
    elif without_role:
        assert stable == max(without_role)


@given(some, some, plans(), versions | st.just(0))
def test_the_first_that_is_loaded_is_the_one_that_then_answers(
    published: set[int], damaged: set[int], plan: ServingPlan, before: int
) -> None:
    for wanted in wanted_versions(published, damaged, plan)[:1]:
        if wanted == plan.stable or wanted not in named(plan):
            assert stable_version({wanted}, plan, before) == wanted


def test_by_hand() -> None:
    plan = ServingPlan(stable=2, canary=Canary(version=4), shadow=3, also=[1])
    assert wanted_versions([1, 2, 3, 4, 5], [], plan) == [2, 4, 3, 1]
    assert wanted_versions([1, 2, 3, 4, 5], [2, 4], plan) == [5, 3, 1]
    assert wanted_versions([1, 2, 3], [3], ServingPlan()) == [2]
    assert stable_version([1, 4, 5], plan, 0) == 5
    assert stable_version([1, 4], plan, 0) == 4
    assert stable_version([5, 6], plan, 5) == 5
    assert stable_version([5, 6], ServingPlan(), 5) == 6


@given(user_ids, versions, weights, weights)
def test_whom_a_canary_answers_it_still_answers_when_it_answers_more(
    user_id: str, version: int, first: float, second: float
) -> None:
    less, more = sorted([first, second])
    assert is_of_canary(user_id, version, less) <= is_of_canary(user_id, version, more)


@given(user_ids, versions)
def test_a_canary_of_weight_0_answers_nobody_and_one_of_weight_1_everybody(user_id: str, version: int) -> None:
    assert not is_of_canary(user_id, version, 0.0)
    assert is_of_canary(user_id, version, 1.0)


USERS = [f"u{number}" for number in range(10_000)]


def test_a_canary_answers_its_share_of_the_users() -> None:
    for weight in (0.01, 0.1, 0.5, 0.9):
        count = sum(is_of_canary(user, 7, weight) for user in USERS)
        deviation = (len(USERS) * weight * (1 - weight)) ** 0.5
        assert abs(count - len(USERS) * weight) < 5 * deviation


def test_each_canary_answers_others() -> None:
    both = sum(is_of_canary(user, 7, 0.5) and is_of_canary(user, 8, 0.5) for user in USERS)
    assert 2_250 < both < 2_750  # 2,500 where they have nothing to do with each other
