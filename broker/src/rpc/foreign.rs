//! Requests that tonic refuses by itself, before a service sees them: they get our codes too.

use http::Response;
use taffrail_api::{
    WireError,
    status::{ERROR_CODE_TRAILER, from_status},
};
use tonic::{Code, Status, body::Body};

/// The same answer, or one with our code.
pub(super) fn named(answer: Response<Body>) -> Response<Body> {
    match answer.extensions().get::<Status>().and_then(ours) {
        Some(error) => Status::from(error).into_http(),
        None => answer,
    }
}

/// What is wrong with a stream of messages that a service reads by itself.
pub(super) fn error(status: &Status) -> WireError {
    ours(status).unwrap_or_else(|| from_status(status))
}

fn ours(status: &Status) -> Option<WireError> {
    let message = status.message();
    if status.metadata().contains_key(ERROR_CODE_TRAILER) {
        return None;
    }
    match status.code() {
        Code::Internal if message.starts_with("failed to decode") => Some(WireError::invalid(
            format!("malformed message, {message}; send what the .proto files say"),
        )),
        Code::OutOfRange if message.contains("message length too large") => {
            Some(WireError::invalid(format!(
                "{message}; name less in one request, and send several"
            )))
        }
        _ => None,
    }
}
