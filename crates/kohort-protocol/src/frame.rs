//! Frames: a length of four bytes, a header, a body.
//!
//! Request headers are version 1, or 2 in an API's flexible versions; response headers are version 0, or 1 in flexible versions,
//! save that ApiVersions always answers with version 0, so that a client that does not know us yet can read it (KIP-511).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader as WireHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use crate::StrBytes;
use crate::shape::{Shape, ShapeError};

/// ApiVersions' key: its answers keep header version 0.
pub const API_VERSIONS: i16 = 18;

/// A request's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Comes back in the answer.
    pub correlation_id: i32,
    /// The client's name for itself; null counts as "".
    pub client_id: StrBytes,
}

/// Why a frame is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It ends within the header.
    #[error("the frame ends within its header")]
    ShortHeader,
    /// An API or a version that is not spoken.
    #[error("API {key} version {version} is not spoken here")]
    Unsupported {
        /// The API key asked for.
        key: i16,
        /// The version asked for.
        version: i16,
    },
    /// The body is not what the API and the version say.
    #[error("the body does not fit its API")]
    Shape(#[from] ShapeError),
    /// The codec refuses the body.
    #[error("the body of API {key} version {version} is malformed: {reason}")]
    Malformed {
        /// The API key.
        key: i16,
        /// The version.
        version: i16,
        /// What the codec said.
        reason: String,
    },
}

/// Why a message could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A field has no place in this version, or is too long for it.
    #[error("`{message}` cannot be written as version {version}: {reason}")]
    Encode {
        /// The message's Rust name.
        message: &'static str,
        /// The version.
        version: i16,
        /// What the codec said.
        reason: String,
    },
    /// The bytes are not that message.
    #[error("`{message}` version {version} cannot be read: {reason}")]
    Decode {
        /// The message's Rust name.
        message: &'static str,
        /// The version.
        version: i16,
        /// What the codec said.
        reason: String,
    },
}

/// Reads the part of a request's header that every version shares, and leaves `frame` at the body for an API and a version in the
/// table. For others (`Err(Unsupported)` is the caller's to decide: ApiVersions has an answer) the rest is left unread.
///
/// # Errors
/// When the header is cut short or malformed.
pub fn take_header(frame: &mut Bytes) -> Result<RequestHeader, RequestError> {
    if frame.len() < 10 {
        return Err(RequestError::ShortHeader);
    }
    let api_key = frame.get_i16();
    let api_version = frame.get_i16();
    let correlation_id = frame.get_i32();
    let length = frame.get_i16();
    // The client id is a classic string in every header version.
    let client_id = match usize::try_from(length) {
        Ok(n) if n <= frame.len() => {
            StrBytes::from_utf8(frame.split_to(n)).map_err(|_| RequestError::ShortHeader)?
        }
        Err(_) if length == -1 => StrBytes::default(),
        _ => return Err(RequestError::ShortHeader),
    };
    if Shape::of(api_key)
        .is_some_and(|s| (s.min..=s.max).contains(&api_version) && s.is_flexible(api_version))
    {
        skip_tags(frame).ok_or(RequestError::ShortHeader)?;
    }
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

fn skip_tags(frame: &mut Bytes) -> Option<()> {
    fn uvarint(frame: &mut Bytes) -> Option<usize> {
        let mut v = 0usize;
        for shift in (0..35).step_by(7) {
            let b = frame.has_remaining().then(|| frame.get_u8())?;
            v |= usize::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Some(v);
            }
        }
        None
    }
    for _ in 0..uvarint(frame)? {
        uvarint(frame)?;
        let n = uvarint(frame)?;
        if n > frame.len() {
            return None;
        }
        frame.advance(n);
    }
    Some(())
}

/// Decodes a request's body after walking it, so that no length in it can allocate more than the body holds. Strings and byte
/// fields are slices of `body`. In a version that is newer than the codec's a topic's name is its id as text.
///
/// # Errors
/// When the API or the version is not in the table, or the body is not what they say.
pub fn decode_request<T: Decodable>(header: &RequestHeader, mut body: Bytes) -> Result<T, RequestError> {
    let (key, version) = (header.api_key, header.api_version);
    let shape = Shape::of(key)
        .filter(|s| (s.min..=s.max).contains(&version))
        .ok_or(RequestError::Unsupported { key, version })?;
    if version > shape.codec {
        body = shape.with_ids_as_names(version, &body)?.into();
    } else {
        shape.check(version, &body)?;
    }
    T::decode(&mut body, version.min(shape.codec)).map_err(|e| RequestError::Malformed {
        key,
        version,
        reason: format!("{e:#}"),
    })
}

/// Appends a whole request frame, length first, to `out`.
///
/// # Errors
/// When a field has no place in `version`; `out` is then as it was.
pub fn encode_request<T: Encodable + HeaderVersion>(
    out: &mut BytesMut,
    api_key: i16,
    version: i16,
    correlation_id: i32,
    client_id: &StrBytes,
    message: &T,
) -> Result<(), CodecError> {
    let start = out.len();
    out.put_i32(0);
    let header = WireHeader::default()
        .with_request_api_key(api_key)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id.clone()));
    let written = header.encode(out, T::header_version(version)).and_then(|()| message.encode(out, version));
    finish::<T>(out, start, version, written.map_err(|e| format!("{e:#}")))
}

/// Appends a whole response frame, length first, to `out`.
///
/// # Errors
/// When a field has no place in `version`; `out` is then as it was.
pub fn encode_response<T: Encodable + HeaderVersion>(
    out: &mut BytesMut,
    version: i16,
    correlation_id: i32,
    message: &T,
) -> Result<(), CodecError> {
    let start = out.len();
    out.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    let written = header.encode(out, T::header_version(version)).and_then(|()| message.encode(out, version));
    finish::<T>(out, start, version, written.map_err(|e| format!("{e:#}")))
}

fn finish<T>(
    out: &mut BytesMut,
    start: usize,
    version: i16,
    written: Result<(), String>,
) -> Result<(), CodecError> {
    let message = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
    let length = out.len() - start - 4;
    let outcome =
        written.and_then(|()| i32::try_from(length).map_err(|_| format!("{length} bytes are too many")));
    match outcome {
        Ok(n) => {
            out[start..start + 4].copy_from_slice(&n.to_be_bytes());
            Ok(())
        }
        Err(reason) => {
            out.truncate(start);
            Err(CodecError::Encode { message, version, reason })
        }
    }
}

/// Reads a response frame (without its length): the correlation id and the message.
///
/// # Errors
/// When the bytes are not that message.
pub fn decode_response<T: Decodable + HeaderVersion>(
    mut frame: Bytes,
    version: i16,
) -> Result<(i32, T), CodecError> {
    let header = ResponseHeader::decode(&mut frame, T::header_version(version))
        .map_err(|e| decode_error::<T>(version, &e))?;
    let message = T::decode(&mut frame, version).map_err(|e| decode_error::<T>(version, &e))?;
    Ok((header.correlation_id, message))
}

fn decode_error<T>(version: i16, e: &dyn std::fmt::Display) -> CodecError {
    let message = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
    CodecError::Decode { message, version, reason: format!("{e:#}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsResponse, MetadataRequest, MetadataResponse};

    #[test]
    fn a_request_comes_back_as_it_was_written() {
        for version in 0..=13 {
            let mut out = BytesMut::new();
            let sent =
                MetadataRequest::default().with_allow_auto_topic_creation(version >= 4 || version == 0);
            let sent = sent.with_topics((version != 0).then(Vec::new)).with_allow_auto_topic_creation(true);
            let sent = if version == 0 { sent.with_topics(Some(vec![])) } else { sent };
            encode_request(&mut out, 3, version, 42, &StrBytes::from_static_str("me"), &sent).unwrap();
            let mut frame = out.freeze();
            assert_eq!(usize::try_from(frame.get_i32()).unwrap(), frame.len());
            let header = take_header(&mut frame).unwrap();
            assert_eq!(
                (header.api_key, header.api_version, header.correlation_id, &*header.client_id),
                (3, version, 42, "me")
            );
            assert_eq!(decode_request::<MetadataRequest>(&header, frame).unwrap(), sent);
        }
    }

    #[test]
    fn api_versions_answers_with_the_oldest_header() {
        let mut out = BytesMut::new();
        encode_response(&mut out, 3, 7, &ApiVersionsResponse::default()).unwrap();
        assert_eq!(out[4..10], [0, 0, 0, 7, 0, 0], "no tags between the correlation id and the error code");
        out.clear();
        encode_response(&mut out, 9, 7, &MetadataResponse::default()).unwrap();
        assert_eq!(out[4..9], [0, 0, 0, 7, 0], "but others have them");
    }

    #[test]
    fn a_short_header_is_an_error() {
        for n in 0..10 {
            assert!(take_header(&mut Bytes::from(vec![0; n])).is_err());
        }
        let mut long_client = BytesMut::from(&[0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, b'x'][..]).freeze();
        assert!(take_header(&mut long_client).is_err());
    }
}
