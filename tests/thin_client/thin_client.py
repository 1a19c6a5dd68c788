"""A thin client: stock grpcio and stubs generated from the published .proto files. Called by tests/tests/thin_client.

thin_client.py PROTO_DIR STUBS_DIR ADDRESS SCENARIO
"""

import subprocess
import sys
import threading
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
    ends, values = {}, {}
    for answer in gateway.Subscribe(request, timeout=TIMEOUT_S):
        for record in answer.records:
            end = ends.get(record.partition, 0)
            assert record.offset >= end, f"{record.partition}/{record.offset} came after {end - 1}"
            ends[record.partition] = record.offset + 1
            values.setdefault(record.key, []).append(record.value)
            received[record.partition, record.offset] = record
    for key in {record.key for record in sent}:
        expected = [record.value for record in sent if record.key == key]
        assert values[key] == expected, f"{key} came as {values[key]}"
    assert len(received) == len(sent), f"{len(received)} of {len(sent)} records came back"
    for record, result in zip(sent, published.results):
        got = received[result.partition, result.offset]
        assert got.key == record.key and got.timestamp_ms == record.timestamp_ms, (got, record)
        assert got.HasField("value") == record.HasField("value") and got.value == record.value, (got, record)
        assert list(got.headers) == list(record.headers), (got, record)


RECORDS = 300


def subscription(v1, name: str):
    return v1.SubscribeRequest(max_records=10, group=v1.GroupSubscription(group="billing", topics=["events"], client_name=name))


def group_of_two(channel: grpc.Channel) -> None:
    """Two members share the partitions; one is killed, and the other one gets what it had, from where it had committed."""
    from taffrail.v1 import gateway_pb2 as v1
    from taffrail.v1 import gateway_pb2_grpc

    gateway = gateway_pb2_grpc.GatewayStub(channel)
    sent = [v1.PublishRecord(key=f"key-{i % 20}".encode(), value=str(i).encode()) for i in range(RECORDS)]
    published = gateway.Publish(v1.PublishRequest(topic="events", records=sent), timeout=TIMEOUT_S)
    assert not any(result.HasField("error") for result in published.results), published

    # It reads some, commits the first answer of each partition only, and is killed.
    dying = subprocess.Popen([sys.executable, *sys.argv[:4], "dying_member"], stdout=subprocess.PIPE, text=True)
    committed = {}
    for line in dying.stdout:
        if line.strip() == "enough":
            break
        partition, offset = line.split()
        committed[int(partition)] = int(offset)
    assert len(committed) == 3, f"alone it has all partitions: {committed}"

    processed, partitions, member_id = {}, [], None
    call = gateway.Subscribe(subscription(v1, "survivor"), timeout=TIMEOUT_S)
    for answer in call:
        if answer.HasField("member"):
            if member_id is None:
                assert not answer.member.partitions, "the other one has them all yet"
                dying.kill()
            member_id, partitions = answer.member.member_id, answer.member.partitions
        for record in answer.records:
            assert record.topic == "events", record
            processed[record.partition, record.offset] = record.value
            position = v1.ReadPosition(topic="events", partition=record.partition, offset=record.offset + 1)
            answered = gateway.Commit(v1.CommitReadRequest(member_id=member_id, positions=[position]), timeout=TIMEOUT_S)
            assert not answered.refused, answered
        if len(processed) == RECORDS - sum(committed.values()):
            break
    dying.wait()
    assert len(partitions) == 3, partitions
    for partition, offset in committed.items():
        read = sorted(o for p, o in processed if p == partition)
        assert read[0] == offset, f"it went on at {read[0]}, committed was {offset}"
        assert read == list(range(offset, read[-1] + 1)), "a record was skipped"
    # What was never handed out cannot be committed.
    beyond = v1.ReadPosition(topic="events", partition=0, offset=1_000_000)
    refused = gateway.Commit(v1.CommitReadRequest(member_id=member_id, positions=[beyond]), timeout=TIMEOUT_S).refused
    assert len(refused) == 1 and refused[0].error.message, refused
    call.cancel()


def dying_member(channel: grpc.Channel) -> None:
    """A member that says what it has committed, and then only reads on."""
    from taffrail.v1 import gateway_pb2 as v1
    from taffrail.v1 import gateway_pb2_grpc

    gateway = gateway_pb2_grpc.GatewayStub(channel)
    member_id, committed, seen = None, set(), 0
    for answer in gateway.Subscribe(subscription(v1, "dying"), timeout=TIMEOUT_S):
        if answer.HasField("member"):
            member_id = answer.member.member_id
        seen += len(answer.records)
        if answer.records and answer.records[0].partition not in committed:
            last = answer.records[-1]
            position = v1.ReadPosition(topic="events", partition=last.partition, offset=last.offset + 1)
            answered = gateway.Commit(v1.CommitReadRequest(member_id=member_id, positions=[position]), timeout=TIMEOUT_S)
            assert not answered.refused, answered
            committed.add(last.partition)
            print(last.partition, last.offset + 1, flush=True)
        if seen == RECORDS:
            break
    print("enough", flush=True)
    threading.Event().wait()


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
    for name in ("Admin", "Broker", "Gateway", "Groups"):
        assert f"taffrail.v1.{name}" in services, services
    file = database.FindFileContainingSymbol("taffrail.v1.PublishRequest")
    assert "PublishRequest" in [message.name for message in file.message_type]


SCENARIOS = {f.__name__: f for f in (publish_and_subscribe, group_of_two, dying_member, unknown_topic, malformed_message, health, reflection)}


def main() -> None:
    proto_dir, stubs_dir, address, scenario = sys.argv[1:]
    generate_stubs(Path(proto_dir), Path(stubs_dir))
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=TIMEOUT_S)
        SCENARIOS[scenario](channel)


if __name__ == "__main__":
    main()
