//! The least of HTTP: what a probe, a scraper or `curl` asks.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body as it came.
    pub body: String,
}

/// One request over a connection of its own.
///
/// # Panics
/// If nobody answers, or with what is no HTTP.
pub fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Response {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .expect("the request can be sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("it has a status");
    Response {
        status,
        body: body.to_owned(),
    }
}
