"""A thin client: stock grpcio and stubs generated from the published .proto files. Called by tests/tests/thin_client.

thin_client.py PROTO_DIR STUBS_DIR ADDRESS SCENARIO
"""

import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

TIMEOUT_S = 30


def generate_stubs(proto_dir: Path, stubs_dir: Path) -> None:
    files = ["taffrail/v1/common.proto", "taffrail/v1/gateway.proto"]
    include = f"-I{proto_dir}"
    status = protoc.main(["protoc", include, f"--python_out={stubs_dir}", f"--grpc_python_out={stubs_dir}", *files])
    assert status == 0, "protoc failed"
    sys.path.insert(0, str(stubs_dir))


def publish_and_subscribe(channel: grpc.Channel) -> None:
    """What is published comes back, in order per key, with all its parts."""
    from taffrail.v1 import gateway_pb2 as v1
    from taffrail.v1 import gateway_pb2_grpc

    gateway = gateway_pb2_grpc.GatewayStub(channel)
    sent = [
        v1.PublishRecord(
            key=f"key-{i % 5}".encode(),
            value=f"value-{i}".encode(),
            headers=[v1.Header(key="n", value=str(i).encode())],
            timestamp_ms=1_357_000_000_000 + i,
        )
        for i in range(100)
    ]
    # The last is a tombstone.
    sent.append(v1.PublishRecord(key=b"key-0", timestamp_ms=1_357_000_000_100))
    published = gateway.Publish(v1.PublishRequest(topic="events", records=sent), timeout=TIMEOUT_S)
    assert len(published.results) == len(sent), published
    assert not any(result.HasField("error") for result in published.results), published

    request = v1.SubscribeRequest(topic="events", earliest=True, until_end=True)
    received = {}
    for answer in gateway.Subscribe(request, timeout=TIMEOUT_S):
        for record in answer.records:
            received[record.partition, record.offset] = record
    assert len(received) == len(sent), f"{len(received)} of {len(sent)} records came back"
    for record, result in zip(sent, published.results):
        got = received[result.partition, result.offset]
        assert got.key == record.key and got.timestamp_ms == record.timestamp_ms, (got, record)
        assert got.HasField("value") == record.HasField("value") and got.value == record.value, (got, record)
        assert list(got.headers) == list(record.headers), (got, record)


def unknown_topic(channel: grpc.Channel) -> None:
    """An error has a stable code, where any gRPC library finds it."""
    from taffrail.v1 import gateway_pb2 as v1
    from taffrail.v1 import gateway_pb2_grpc

    gateway = gateway_pb2_grpc.GatewayStub(channel)
    request = v1.SubscribeRequest(topic="nowhere", earliest=True, until_end=True)
    try:
        list(gateway.Subscribe(request, timeout=TIMEOUT_S))
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata())
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert trailers.get("taffrail-error-code") == "UNKNOWN_TOPIC", trailers
    else:
        raise AssertionError("a topic that does not exist was subscribed to")


def malformed_message(channel: grpc.Channel) -> None:
    """Bytes that are no message are refused, and the connection goes on."""
    publish = channel.unary_unary("/taffrail.v1.Gateway/Publish")
    try:
        publish(b"\xff\xff\xff\xff", timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT), error
    else:
        raise AssertionError("bytes that are no message were accepted")
    health(channel)


def health(channel: grpc.Channel) -> None:
    """The standard health service says SERVING."""
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=TIMEOUT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer


def reflection(channel: grpc.Channel) -> None:
    """The standard reflection service knows every service and the fields of its messages."""
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    for name in ("Admin", "Broker", "Gateway"):
        assert f"taffrail.v1.{name}" in services, services
    file = database.FindFileContainingSymbol("taffrail.v1.PublishRequest")
    assert "PublishRequest" in [message.name for message in file.message_type]


SCENARIOS = {f.__name__: f for f in (publish_and_subscribe, unknown_topic, malformed_message, health, reflection)}


def main() -> None:
    proto_dir, stubs_dir, address, scenario = sys.argv[1:]
    generate_stubs(Path(proto_dir), Path(stubs_dir))
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=TIMEOUT_S)
        SCENARIOS[scenario](channel)


if __name__ == "__main__":
    main()
