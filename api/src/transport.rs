//! HTTP/2 settings of every client and server, and limits on messages. Measured: with 16 KiB frames and default windows a
//! 1 MiB message costs three to four times the CPU.

use std::time::Duration;

use tonic::transport::{Endpoint, Error, Server};

/// Largest HTTP/2 frame of a request: a usual batch is one frame, and so one slice.
pub const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Largest HTTP/2 frame of an answer: several usual batches are one frame, which costs as many wake-ups as one batch does.
pub const ANSWER_FRAME_BYTES_MAX: u32 = 2 << 20;
/// Flow control of one stream: what may be under way before the receiver takes it.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Flow control of one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Streams of one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Largest header block of a request.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// A ping this often tells a dead peer from a quiet one ...
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// ... when no answer came for this long.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a dial may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a broker's dial to one controller may take.
pub const CONTROLLER_DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest pause of a broker between two rounds over the addresses of controllers. Up to half of it is added by chance.
pub const CONTROLLER_REDIAL_MAX: Duration = Duration::from_secs(1);
/// Within this time every broker that runs has found a controller that took office: one that just missed it goes on to the address of
/// the former one, whose machine may be gone, pauses for longest, and comes to that address first again.
pub const CONTROLLER_FOUND_WITHIN: Duration = CONTROLLER_DIAL_TIMEOUT
    .saturating_mul(2)
    .saturating_add(CONTROLLER_REDIAL_MAX)
    .saturating_add(Duration::from_millis(
        CONTROLLER_REDIAL_MAX.as_millis() as u64 / 2,
    ));

/// Largest batch any topic may allow (`limits.maxBatchBytes`).
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// Largest message of the data streams: one batch of the largest size and its envelope.
pub const DATA_MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX + (64 << 10);
/// Largest answer to a fetch: what was asked for, capped to this, and one batch more.
pub const FETCH_BYTES_MAX: usize = 16 << 20;
/// Largest `FetchResponse` a client has to take.
pub const FETCH_MESSAGE_BYTES_MAX: usize = FETCH_BYTES_MAX + BATCH_BYTES_MAX + (4 << 20);
/// Batches of one answer of a leader to its followers: more go with the next.
pub const ANSWERS_BYTES_MAX: usize = 4 << 20;
/// Largest `LeaderMessage` a follower has to take: the above, one batch more, and the envelopes of many partitions.
pub const LEADER_MESSAGE_BYTES_MAX: usize = ANSWERS_BYTES_MAX + BATCH_BYTES_MAX + (4 << 20);
/// Largest request of the calls that carry no records: they name partitions or topics.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Largest message of all other calls.
pub const CALL_MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Asks a broker to pass the call on to the partition's leader if that is another one: request header, value `1`.
pub const ROUTE_HEADER: &str = "taffrail-route";

/// An endpoint for `address`, with or without `http://`, with our settings.
///
/// # Errors
/// The address is no URI.
pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let uri = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    Ok(Endpoint::from_shared(uri)?
        .tcp_nodelay(true)
        // What is said here and below is what this end receives.
        .max_frame_size(ANSWER_FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_timeout(CONNECT_TIMEOUT))
}

/// A server with our settings. Whoever accepts the connections sets `TCP_NODELAY` on them.
pub fn server() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}
