//! Kafka's classic (never flexible) field encodings, for the few bytes that groups carry inside their messages.

use crate::consumer_protocol::DecodeError;

/// Appends fields, big endian.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn int16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn int32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// The count in front of an array.
    pub(crate) fn length(&mut self, length: usize) {
        self.int32(i32::try_from(length).expect("no array of ours has 2^31 entries"));
    }

    /// Kafka's names have at most 249 bytes; anything else of ours is far below 2^15.
    pub(crate) fn string(&mut self, text: &str) {
        self.int16(i16::try_from(text.len()).expect("a name has less than 2^15 bytes"));
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.int16(-1),
        }
    }

    pub(crate) fn nullable_bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => {
                self.length(bytes.len());
                self.0.extend_from_slice(bytes);
            }
            None => self.int32(-1),
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads fields; every length is checked against the bytes that are there before anything is made for it.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let short = DecodeError::Short { field, at: self.at, len: self.bytes.len() };
        let taken = self.bytes[self.at..].get(..count).ok_or(short)?;
        self.at += count;
        Ok(taken)
    }

    pub(crate) fn int16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        let taken = self.take(2, field)?;
        Ok(i16::from_be_bytes([taken[0], taken[1]]))
    }

    pub(crate) fn int32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        let taken = self.take(4, field)?;
        Ok(i32::from_be_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    /// The count of an array whose entries have `entry` bytes or more. A null array counts as an empty one.
    pub(crate) fn length(&mut self, field: &'static str, entry: usize) -> Result<usize, DecodeError> {
        let length = self.int32(field)?;
        match usize::try_from(length) {
            Ok(count) if count <= (self.bytes.len() - self.at) / entry => Ok(count),
            Err(_) if length == -1 => Ok(0),
            _ => Err(DecodeError::Length { field, length }),
        }
    }

    /// A nullable string's bytes, not looked at.
    fn nullable_raw_string(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.int16(field)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.take(length, field).map(Some),
                Err(_) => Err(DecodeError::Length { field, length: length.into() }),
            },
        }
    }

    pub(crate) fn raw_string(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        self.nullable_raw_string(field)?.ok_or(DecodeError::Length { field, length: -1 })
    }

    pub(crate) fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        text(self.raw_string(field)?, field)
    }

    pub(crate) fn nullable_string(&mut self, field: &'static str) -> Result<Option<String>, DecodeError> {
        self.nullable_raw_string(field)?.map(|bytes| text(bytes, field)).transpose()
    }

    pub(crate) fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = self.int32(field)?;
        match usize::try_from(length) {
            Ok(length) => self.take(length, field).map(Some),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(DecodeError::Length { field, length }),
        }
    }
}

fn text(bytes: &[u8], field: &'static str) -> Result<String, DecodeError> {
    core::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Text { field })
}
