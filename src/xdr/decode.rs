//! Reading XDR. Every length is checked against its bound and against the bytes that are there
//! before anything is allocated.

use bytes::{Buf as _, Bytes};

/// The bytes are not what the type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the message is truncated")]
    Truncated,
    /// A length is over its bound.
    #[error("a length exceeds its limit")]
    TooLong,
    /// A boolean or a discriminant has a value that the type does not have.
    #[error("a value is invalid for its type")]
    Value,
}

/// Reads XDR items from the front of a message.
#[derive(Clone, Debug)]
pub struct Decoder {
    bytes: Bytes,
}

impl Decoder {
    /// A reader of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// Unsigned integer (RFC 4506 section 4.2).
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.bytes.try_get_u32().map_err(|_| DecodeError::Truncated)
    }

    /// Unsigned hyper integer (section 4.5).
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.bytes.try_get_u64().map_err(|_| DecodeError::Truncated)
    }

    /// Boolean (section 4.4): 0 or 1.
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Value),
        }
    }

    /// Fixed-length opaque data (section 4.9).
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N)?);
        Ok(array)
    }

    /// Variable-length opaque data or a string (sections 4.10 and 4.11) of at most `max` bytes,
    /// shared with the message and not copied.
    pub fn opaque(&mut self, max: usize) -> Result<Bytes, DecodeError> {
        let length = usize::try_from(self.u32()?).map_err(|_| DecodeError::TooLong)?;
        if length > max {
            return Err(DecodeError::TooLong);
        }
        self.take(length)
    }

    /// Variable-length opaque data whose only bound is the message itself, as names and symbolic
    /// links' targets in NFSv3.
    pub fn opaque_in_message(&mut self) -> Result<Bytes, DecodeError> {
        self.opaque(usize::MAX)
    }

    /// Variable-length array of unsigned integers (section 4.13), at most `max` of them.
    pub fn u32_array(&mut self, max: usize) -> Result<Vec<u32>, DecodeError> {
        let count = usize::try_from(self.u32()?).map_err(|_| DecodeError::TooLong)?;
        if count > max {
            return Err(DecodeError::TooLong);
        }
        if self.bytes.len() / 4 < count {
            return Err(DecodeError::Truncated);
        }
        (0..count).map(|_| self.u32()).collect()
    }

    /// What is left of the message.
    #[must_use]
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Takes `length` bytes and the padding behind them (section 4.10: to a multiple of four). The
    /// padding's value is not looked at, as most peers do not either.
    fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let padded = length.checked_next_multiple_of(4).ok_or(DecodeError::Truncated)?;
        if self.bytes.len() < padded {
            return Err(DecodeError::Truncated);
        }
        let taken = self.bytes.split_to(length);
        self.bytes.advance(padded - length);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(bytes: &'static [u8]) -> Decoder {
        Decoder::new(Bytes::from_static(bytes))
    }

    #[test]
    fn lengths_are_checked_before_anything_is_taken() {
        let huge = [0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
        let mut reader = Decoder::new(Bytes::copy_from_slice(&huge));
        assert_eq!(reader.clone().opaque(64), Err(DecodeError::TooLong));
        assert_eq!(reader.clone().opaque_in_message(), Err(DecodeError::Truncated));
        assert_eq!(reader.u32_array(usize::MAX), Err(DecodeError::Truncated));
    }

    #[test]
    fn padding_is_part_of_the_item() {
        let mut reader = decoder(b"\0\0\0\x05hello\0\0\0\0\0\0\x07");
        assert_eq!(reader.opaque(5).unwrap(), "hello");
        assert_eq!(reader.u32(), Ok(7));
        assert_eq!(decoder(b"\0\0\0\x05hello").opaque(5), Err(DecodeError::Truncated));
    }

    #[test]
    fn booleans_are_zero_or_one() {
        assert_eq!(decoder(b"\0\0\0\x02").boolean(), Err(DecodeError::Value));
        assert_eq!(decoder(b"\0\0\0\x01").boolean(), Ok(true));
        assert_eq!(decoder(b"\0\0").boolean(), Err(DecodeError::Truncated));
    }
}
