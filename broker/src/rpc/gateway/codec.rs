//! Publish's codec: counts records and headers before any is decoded. An empty one takes two bytes on the wire and a hundred in memory.

use bytes::Buf as _;
use prost::{
    Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use taffrail_api::{
    WireError,
    v1::{PublishRequest, PublishResponse},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

/// Field number of `records` in `PublishRequest`.
const RECORDS_FIELD: u32 = 2;
/// Field number of `headers` in `PublishRecord`.
const HEADERS_FIELD: u32 = 3;
/// Headers of all records of a request.
const HEADERS_MAX: usize = 100_000;

type Usual = ProstCodec<PublishResponse, PublishRequest>;

/// The usual codec, with limits on counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublishCodec {
    pub(super) records_max: usize,
}

impl Codec for PublishCodec {
    type Encode = PublishResponse;
    type Decode = PublishRequest;
    type Encoder = <Usual as Codec>::Encoder;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Usual::default().encoder()
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Decoder for PublishCodec {
    type Item = PublishRequest;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<PublishRequest>, Status> {
        let message = buf.copy_to_bytes(buf.remaining());
        let (records, headers) = count(&message);
        let too_many = |max, what| {
            WireError::invalid(format!(
                "more than {max} {what} in one request; send several"
            ))
        };
        if records > self.records_max {
            return Err(too_many(self.records_max, "records").into());
        }
        if headers > HEADERS_MAX {
            return Err(too_many(HEADERS_MAX, "headers").into());
        }
        let request = PublishRequest::decode(message)
            .map_err(|e| WireError::invalid(format!("malformed message: {e}")))?;
        Ok(Some(request))
    }
}

/// Records and headers, as far as the message makes sense: decoding it says where it does not.
fn count(message: &[u8]) -> (usize, usize) {
    let (mut records, mut headers) = (0, 0);
    each(message, RECORDS_FIELD, |record| {
        records += 1;
        each(record, HEADERS_FIELD, |_| headers += 1);
    });
    (records, headers)
}

fn each<'a>(mut message: &'a [u8], field: u32, mut found: impl FnMut(&'a [u8])) {
    while !message.is_empty() {
        let Ok((tag, wire_type)) = decode_key(&mut message) else {
            return;
        };
        if tag == field && wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut message).map(|length| length as usize);
            let Some((content, rest)) = length.ok().and_then(|n| message.split_at_checked(n))
            else {
                return;
            };
            found(content);
            message = rest;
        } else if skip_field(wire_type, tag, &mut message, DecodeContext::default()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_api::v1::{Header, PublishRecord};

    use super::*;

    #[test]
    fn records_and_their_headers_are_counted_between_other_fields() {
        let record = |headers| PublishRecord {
            key: Some("k".into()),
            headers: vec![Header::default(); headers],
            partition: Some(3),
            ..PublishRecord::default()
        };
        let request = PublishRequest {
            topic: "flights".into(),
            records: vec![record(0), record(2), record(5)],
            timeout_ms: 7,
        };
        assert_eq!(count(&request.encode_to_vec()), (3, 7));
    }

    #[test]
    fn what_makes_no_sense_is_counted_up_to_there() {
        assert_eq!(count(&[0x12, 0, 0x12, 0, 0x12, 100, 1]), (2, 0));
        assert_eq!(count(&[0xff; 20]), (0, 0));
    }
}
