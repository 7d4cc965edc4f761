"""The plan of a model: which of its versions has which role. It is a file beside the versions, ``plan.json``.

PlanError          what is wrong with the file, in one sentence for a person
PlanChangedError   another one was written since
"""

import fcntl
import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from google.protobuf import json_format

from bascule.v1.model_admin_service_pb2 import ServingPlan

NAME = "plan.json"
MAX_BYTES = 64 * 1024
MAX_ALSO = 8
MAX_REVISION = 2**63 - 1


class PlanError(Exception):
    """The file holds no plan, or cannot be read."""


class PlanChangedError(Exception):
    """The plan is no longer the one that was to be replaced."""


def read_plan(folder: Path) -> ServingPlan:
    """The plan of the model whose versions are in ``folder``; an empty one where there is none.

    Raises:
        PlanError: the file cannot be read, or holds no valid plan.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return ServingPlan()
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > MAX_BYTES:
        raise PlanError(f"{path}: got more than {MAX_BYTES:,} bytes; expected a plan, as SetServingPlan writes it")
    try:
        plan = json_format.Parse(text, ServingPlan())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: not a plan: {error}") from error
    for field, complaint in complaints(plan):
        raise PlanError(f"{path}: {field}: {complaint}")
    return plan


def write_plan(folder: Path, plan: ServingPlan) -> ServingPlan:
    """Puts a plan in the place of the one that has its revision, on the disk; returns it with its own revision.

    Raises:
        PlanChangedError: the present plan has another revision.
        PlanError: the present plan cannot be read.
        OSError: it cannot be written. The present one is as it was.
    """
    with _locked(folder):
        if read_plan(folder).revision != plan.revision:
            raise PlanChangedError
        written = ServingPlan()
        written.CopyFrom(plan)
        written.revision += 1
        part = folder / f"{NAME}.part"
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(json_format.MessageToJson(written) + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(folder / NAME)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise
        return written


def complaints(plan: ServingPlan) -> Iterator[tuple[str, str]]:
    """What is wrong with a plan by itself: the field, and what it holds and is to hold."""
    if not 0 <= plan.revision < MAX_REVISION:
        yield "revision", f"got {plan.revision}; expected 0 to {MAX_REVISION - 1}"
    named = roles(plan)
    for field, version in named.items():
        if version < 0:
            yield field, f"got {version}; expected a version, a positive integer, or 0 for none"
    versions = [version for version in named.values() if version]
    for field, version in named.items():
        if version and versions.count(version) > 1:
            yield field, f"got {version}, which has another role too; expected each version once"
    weight = plan.canary.weight
    if not 0.0 <= weight <= 1.0 or math.isnan(weight):
        yield "canary.weight", f"got {weight}; expected 0 to 1"
    if weight and not plan.canary.version:
        yield "canary.version", "got none; expected a version where there is a weight"
    if len(plan.also) > MAX_ALSO:
        yield "also", f"got {len(plan.also)}; expected at most {MAX_ALSO}"


def unpublished(plan: ServingPlan, published: Collection[int]) -> Iterator[tuple[str, str]]:
    """The fields that name a version that is not published."""
    for field, version in roles(plan).items():
        if version and version not in published:
            yield field, f"got {version}; expected one that is published: {', '.join(map(str, sorted(published)))}"


def roles(plan: ServingPlan) -> dict[str, int]:
    """The version in each role, by the path of its field; 0: none."""
    also = {f"also[{index}]": version for index, version in enumerate(plan.also)}
    return {"stable": plan.stable, "canary.version": plan.canary.version, "shadow": plan.shadow, **also}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds off others who would write a plan of the model."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        # The new name is on the disk too.
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
