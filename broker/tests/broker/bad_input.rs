//! What bad input gets: a stable code, nothing lost, nobody else disturbed.

use bytes::Bytes;
use futures::StreamExt as _;
use http::Request;
use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use taffrail_api::{
    WireError,
    status::from_status,
    v1::{
        self, FetchPartition, ProduceRequest, broker_client::BrokerClient, offset_query::Position,
    },
};
use taffrail_core::ErrorCode;
use taffrail_record::{BatchError, verify};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use crate::{
    controller::Topic,
    fixture::{Fixture, TOPIC, batch, code, fetch_at, request, within},
};

/// The error that a request gets, after which the same stream goes on.
async fn refused(fixture: &Fixture, bad: ProduceRequest) -> WireError {
    let mut client = fixture.client().await;
    let error = client.produce(bad).await.expect_err("refused");
    client
        .produce(request(0, batch(&["good"])))
        .await
        .expect("the stream goes on");
    error
}

fn damaged(at: usize) -> Bytes {
    let mut bytes = batch(&["a", "b"]).to_vec();
    let at = if at == usize::MAX {
        bytes.len() - 1
    } else {
        at
    };
    bytes[at] ^= 1;
    bytes.into()
}

#[tokio::test]
async fn a_wrong_checksum_length_magic_or_count_is_a_corrupt_batch() {
    let fixture = Fixture::start(1).await;
    for at in [usize::MAX, 11, 16, 60] {
        let error = refused(&fixture, request(0, damaged(at))).await;
        assert_eq!(
            (error.code, error.retriable),
            (ErrorCode::CorruptBatch, false),
            "byte {at}"
        );
    }
    let only_good = fixture.client().await.values(0, 0).await;
    assert_eq!(only_good, ["good"; 4]);
}

/// A lie that hangs together: whatever `change` makes of the batch, with a checksum that holds.
fn consistent(change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch(&["a", "b"]).to_vec();
    change(&mut bytes);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    if let Err(BatchError::Crc { actual, .. }) = verify(&bytes) {
        bytes[17..21].copy_from_slice(&actual.to_be_bytes());
    }
    bytes.into()
}

fn set_count(bytes: &mut [u8], count: i32) {
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
}

#[tokio::test]
async fn records_that_are_not_what_the_header_says_are_a_corrupt_batch() {
    let fixture = Fixture::start(1).await;
    let lies = [
        ("one too many", consistent(|b| set_count(b, 3))),
        ("one too few", consistent(|b| set_count(b, 1))),
        ("garbage", consistent(|b| b[61..].fill(0xff))),
        ("the same offset twice", consistent(|b| b[61 + 8 + 3] = 0)),
        (
            "two thousand million in no bytes",
            consistent(|b| {
                b.truncate(61);
                set_count(b, i32::MAX);
            }),
        ),
        (
            "two thousand million, compressed",
            consistent(|b| {
                b[22] = 4;
                set_count(b, i32::MAX);
            }),
        ),
    ];
    let count = lies.len();
    for (what, lie) in lies {
        let error = refused(&fixture, request(0, lie)).await;
        assert_eq!(error.code, ErrorCode::CorruptBatch, "{what}: {error}");
    }
    let only_good = fixture.client().await.values(0, 0).await;
    assert_eq!(only_good, vec!["good"; count]);
}

/// What decompresses to garbage is found by its readers only.
#[tokio::test]
async fn a_stored_batch_that_cannot_be_read_takes_no_partition_offline() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    let lie = consistent(|b| {
        b[22] = 4;
        b[35..43].copy_from_slice(&i64::MAX.to_be_bytes());
    });
    client.produce(request(0, lie)).await.expect("stored");
    let found = client.offset(0, Position::TimestampMs(5_000)).await;
    assert_eq!(found.expect("a batch"), (0, i64::MAX));
    client
        .produce(request(0, batch(&["good"])))
        .await
        .expect("the partition serves on");
    assert_eq!(client.values(0, 2).await, ["good"]);
}

#[tokio::test]
async fn an_unknown_compression_is_told_apart() {
    let fixture = Fixture::start(1).await;
    let mut bytes = batch(&["a"]).to_vec();
    bytes[22] |= 0b111;
    let error = refused(&fixture, request(0, bytes.into())).await;
    assert_eq!(error.code, ErrorCode::UnsupportedCompression);
}

#[tokio::test]
async fn a_batch_above_the_topics_limit_says_the_limit() {
    let fixture = Fixture::start(1).await;
    let (half, whole) = ("x".repeat(600_000), "x".repeat(1_100_000));
    let error = refused(&fixture, request(0, batch(&[&half, &half]))).await;
    assert_eq!(error.code, ErrorCode::BatchTooLarge);
    assert!(error.message.contains("1048576"), "{error}");
    let error = refused(&fixture, request(0, batch(&[&whole]))).await;
    assert_eq!(error.code, ErrorCode::RecordTooLarge);
}

#[tokio::test]
async fn an_unknown_topic_or_partition_is_told() {
    let fixture = Fixture::start(1).await;
    let unknown = ProduceRequest {
        topic_id: Bytes::from_static(&[9; 16]),
        ..request(0, batch(&["a"]))
    };
    assert_eq!(
        refused(&fixture, unknown).await.code,
        ErrorCode::UnknownTopic
    );
    let error = refused(&fixture, request(1, batch(&["a"]))).await;
    assert_eq!(error.code, ErrorCode::UnknownPartition);
    assert!(error.message.contains("has 1 partitions"), "{error}");
    let malformed = ProduceRequest {
        topic_id: Bytes::from_static(b"flights"),
        ..request(0, batch(&["a"]))
    };
    assert_eq!(
        refused(&fixture, malformed).await.code,
        ErrorCode::InvalidRequest
    );
}

#[tokio::test]
async fn nothing_to_append_is_an_invalid_request() {
    let fixture = Fixture::start(1).await;
    let error = refused(&fixture, request(0, Bytes::new())).await;
    assert_eq!(error.code, ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn an_epoch_that_is_over_or_not_known_yet_is_refused() {
    let fixture = Fixture::start(1).await;
    fixture
        .put(Topic {
            leader_epoch: 5,
            partition_epoch: 5,
            ..Topic::new("flights", &[1])
        })
        .await;
    let with = |leader_epoch| ProduceRequest {
        leader_epoch,
        ..request(0, batch(&["a"]))
    };
    assert_eq!(
        refused(&fixture, with(4)).await.code,
        ErrorCode::StaleLeaderEpoch
    );
    assert_eq!(
        refused(&fixture, with(6)).await.code,
        ErrorCode::NotYetKnown
    );
    let client = fixture.client().await;
    let fetched = client
        .fetch(
            FetchPartition {
                leader_epoch: 4,
                ..fetch_at(0, 0)
            },
            0,
        )
        .await;
    assert_eq!(
        code(fetched.error.expect("refused")),
        ErrorCode::StaleLeaderEpoch
    );
}

#[tokio::test]
async fn an_offset_out_of_range_says_the_range() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a", "b", "c"])))
        .await
        .expect("stored");
    let fetched = client.fetch(fetch_at(0, 17), 10_000).await;
    let error = WireError::from(fetched.error.expect("refused"));
    assert_eq!(error.code, ErrorCode::OffsetOutOfRange);
    assert!(error.message.contains("from 0 to 3"), "{error}");
    let fetched = client.fetch(fetch_at(0, -5), 10_000).await;
    assert_eq!(
        code(fetched.error.expect("refused")),
        ErrorCode::InvalidRequest
    );
}

#[tokio::test]
async fn an_offset_query_without_a_position_is_refused_alone() {
    let fixture = Fixture::start(1).await;
    let client = fixture.client().await;
    let error = client
        .offset(0, Position::Earliest(false))
        .await
        .expect_err("no position");
    assert_eq!(error.code, ErrorCode::InvalidRequest);
    assert_eq!(
        client
            .offset(3, Position::Earliest(true))
            .await
            .expect_err("unknown")
            .code,
        ErrorCode::UnknownPartition
    );
}

/// Sends raw bytes on a call and returns how it ended.
pub(crate) async fn raw(channel: Channel, path: &str, body: &'static [u8]) -> Status {
    raw_with(channel, path, &[], Bytes::from_static(body)).await
}

/// The same with more headers.
pub(crate) async fn raw_with(
    mut channel: Channel,
    path: &str,
    headers: &[(&'static str, &'static str)],
    body: Bytes,
) -> Status {
    let frames = futures::stream::iter([Ok::<_, Status>(http_body::Frame::data(body))]);
    let mut request = Request::new(Body::new(http_body_util::StreamBody::new(frames)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse().expect("path");
    request
        .headers_mut()
        .insert("content-type", "application/grpc".parse().expect("value"));
    for (name, value) in headers {
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert(*name, value);
    }
    let response = within("a response", async {
        channel
            .ready()
            .await
            .expect("connects")
            .call(request)
            .await
            .expect("answers")
    })
    .await;
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let mut body = http_body_util::BodyStream::new(response.into_body());
    while let Some(frame) = within("a frame", body.next()).await {
        if let Ok(trailers) = frame.expect("arrives").into_trailers() {
            return Status::from_header_map(&trailers).expect("a status");
        }
    }
    panic!("ended without a status");
}

/// Of the services on the port for clients.
fn paths_of_calls() -> Vec<String> {
    let set = FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).expect("ours");
    let files = set.file.iter();
    let services = files.flat_map(|file| file.service.iter().map(|s| (file.package(), s)));
    let for_clients = ["Broker", "Gateway", "Groups", "Admin"];
    let services = services.filter(|(_, service)| for_clients.contains(&service.name()));
    let paths = services.flat_map(|(package, service)| {
        let of = move |call: &MethodDescriptorProto| {
            format!("/{package}.{}/{}", service.name(), call.name())
        };
        service.method.iter().map(of)
    });
    paths.collect()
}

#[tokio::test]
async fn malformed_protobuf_ends_every_call_with_a_code() {
    let fixture = Fixture::start(1).await;
    let paths = paths_of_calls();
    assert!(paths.len() >= 22, "{paths:?}");
    for path in paths {
        let malformed = &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff];
        let status = raw(fixture.channel(), &path, malformed).await;
        let error = from_status(&status);
        assert_eq!(error.code, ErrorCode::InvalidRequest, "{path}");
        assert!(error.message.contains("malformed"), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_message_above_every_limit_is_refused_before_it_is_read() {
    let fixture = Fixture::start(1).await;
    let status = raw(
        fixture.channel(),
        "/taffrail.v1.Broker/Produce",
        &[0, 0x7f, 0xff, 0xff, 0xff],
    )
    .await;
    assert_eq!(from_status(&status).code, ErrorCode::BatchTooLarge);
}

#[tokio::test]
async fn a_call_that_does_not_exist_is_an_unsupported_version() {
    let fixture = Fixture::start(1).await;
    let status = raw(
        fixture.channel(),
        "/taffrail.v1.Broker/Teleport",
        &[0, 0, 0, 0, 0],
    )
    .await;
    assert_eq!(from_status(&status).code, ErrorCode::UnsupportedVersion);
}

#[tokio::test]
async fn requests_of_a_chain_do_not_overtake_the_one_that_failed() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    let chained = |chain, leader_epoch| ProduceRequest {
        chain,
        leader_epoch,
        ..request(0, batch(&["a"]))
    };
    client.send(chained(1, 9));
    client.send(chained(1, 1));
    client.send(chained(2, 1));
    let failed = client.answer().await.1.expect_err("an epoch not known yet");
    let behind = client.answer().await.1.expect_err("must not overtake");
    assert_eq!(
        (failed.code, behind.code),
        (ErrorCode::NotYetKnown, ErrorCode::NotYetKnown)
    );
    assert_eq!(
        client.answer().await.1.expect("the next chain").base_offset,
        0
    );
}

#[tokio::test]
async fn more_requests_than_answers_are_kept_for_all_get_theirs_once_they_are_read() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    let requests = 5_000;
    for _ in 0..requests {
        client.send(request(0, Bytes::new()));
    }
    for id in 1..=requests {
        let (answered, result) = client.answer().await;
        assert_eq!(answered, id);
        assert_eq!(result.expect_err("empty").code, ErrorCode::InvalidRequest);
    }
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_named_in_the_metadata() {
    let fixture = Fixture::start(2).await;
    let request = v1::GetMetadataRequest {
        topics: vec!["flights".into(), "ships".into()],
    };
    let metadata = BrokerClient::new(fixture.channel())
        .get_metadata(request)
        .await
        .expect("answers")
        .into_inner();
    assert_eq!(metadata.unknown_topics, ["ships"]);
    assert_eq!(metadata.topics[0].topic_id, TOPIC.as_bytes()[..]);
    assert_eq!(metadata.topics[0].partitions.len(), 2);
    assert_eq!(metadata.brokers[0].number, 1);
}
