"""Which versions of a model are to be loaded, and which of the loaded ones answers: decided by numbers alone."""

from collections.abc import Collection, Iterable
from hashlib import blake2b

from bascule.v1.model_admin_service_pb2 import ServingPlan
from bascule_server.versions.plan import roles


def wanted_versions(published: Collection[int], damaged: Collection[int], plan: ServingPlan) -> list[int]:
    """The versions to be loaded, in the order in which to load them: the stable one first.

    Args:
        published: those that lie on the disk.
        damaged: those of them that could not be loaded.
        plan: of the model.
    """
    usable = set(published) - set(damaged)
    named = [version for version in roles(plan).values() if version in usable]
    if plan.stable in usable:
        return _distinct(named)
    # Where the plan's own cannot be loaded, the newest answers rather than none.
    others = usable.difference(named)
    return _distinct([*([max(others)] if others else []), *named])


def stable_version(serving: Collection[int], plan: ServingPlan, before: int) -> int:
    """The version that answers whoever names none; 0 where none serves.

    Args:
        serving: the versions that are loaded.
        plan: of the model.
        before: the one that did so until now; 0: none.
    """
    if plan.stable in serving:
        return plan.stable
    without_role = set(serving).difference(roles(plan).values())
    if plan.stable and before in without_role:
        # The one that the plan names does not serve, or not yet.
        return before
    return max(without_role or set(serving), default=0)


def is_of_canary(user_id: str, version: int, weight: float) -> bool:
    """Whether the canary ``version`` answers a user: always the same users, ``weight`` of all, others for each version.

    Every worker and server finds the same.
    """
    digest = blake2b(f"{version}/{user_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < weight * 2.0**64


def _distinct(versions: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(versions))
