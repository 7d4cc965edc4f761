"""``List`` gives the state of every service, in the bytes that the protocol has for it."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from bascule.standard_protos import health_pb2 as pb
from bascule_server.services.health_list import encode_statuses

SERVICES = ["", "bascule.v1.ModelService", "bascule.v1.RecommendationService"]


@pytest.fixture(scope="module")
def health_list_response() -> Any:
    """The protocol's message, in a pool of its own."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="list.proto", package="p", syntax="proto3")
    file.message_type.add(name="Check").field.add(name="status", number=1, label=1, type=field.TYPE_INT32)
    listing = file.message_type.add(name="List")
    listing.field.add(name="statuses", number=1, label=3, type=field.TYPE_MESSAGE, type_name=".p.List.StatusesEntry")
    entry = listing.nested_type.add(name="StatusesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=1, type=field.TYPE_STRING)
    entry.field.add(name="value", number=2, label=1, type=field.TYPE_MESSAGE, type_name=".p.Check")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.List"))


def test_one_service_that_serves_is_eight_bytes() -> None:
    assert encode_statuses({"": pb.HealthCheckResponse.SERVING}) == b"\n\x06\n\x00\x12\x02\x08\x01"


@given(st.dictionaries(st.text(max_size=25), st.sampled_from(pb.HealthCheckResponse.ServingStatus.values())))
def test_the_protocols_message_reads_what_was_written(health_list_response: Any, statuses: dict[str, Any]) -> None:
    read = health_list_response.FromString(encode_statuses(statuses))
    assert {name: check.status for name, check in read.statuses.items()} == statuses


async def _list(running: Any) -> bytes:
    answer: bytes = await running.channel.unary_unary("/grpc.health.v1.Health/List")(b"")
    return answer


async def test_a_server_with_its_models_lists_every_service_as_serving(run_server: Any) -> None:
    async with run_server() as running:
        serving = dict.fromkeys(SERVICES, pb.HealthCheckResponse.SERVING)
        assert await _list(running) == encode_statuses(serving)


async def test_a_server_that_loads_lists_every_service_as_not_serving(run_server: Any, never_loaded: Any) -> None:
    async with run_server(load=never_loaded) as running:
        not_serving = dict.fromkeys(SERVICES, pb.HealthCheckResponse.NOT_SERVING)
        assert await _list(running) == encode_statuses(not_serving)
