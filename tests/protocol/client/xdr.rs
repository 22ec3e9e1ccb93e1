//! XDR by hand (RFC 4506).

/// Writes items behind each other; every method hands the writer on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// No bytes yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Unsigned integer.
    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    /// Unsigned hyper integer.
    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    /// Boolean.
    pub(crate) fn boolean(self, value: bool) -> Self {
        self.u32(value.into())
    }

    /// Fixed-length opaque data with its padding.
    pub(crate) fn fixed(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Variable-length opaque data or a string.
    pub(crate) fn opaque(self, bytes: &[u8]) -> Self {
        self.u32(bytes.len().try_into().unwrap()).fixed(bytes)
    }

    /// Bytes as they are, without length or padding.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// What was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl From<Writer> for Vec<u8> {
    fn from(writer: Writer) -> Self {
        writer.into_bytes()
    }
}

/// Reads items; what is missing fails the case.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    position: usize,
}

impl Reader {
    /// A reader of `bytes`.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, position: 0 }
    }

    /// Unsigned integer.
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.fixed(4).try_into().unwrap())
    }

    /// Unsigned hyper integer.
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.fixed(8).try_into().unwrap())
    }

    /// Boolean, 0 or 1.
    pub(crate) fn boolean(&mut self) -> bool {
        match self.u32() {
            0 => false,
            1 => true,
            other => panic!("{other} is no boolean"),
        }
    }

    /// Fixed-length opaque data; its padding must be zeros.
    pub(crate) fn fixed(&mut self, length: usize) -> Vec<u8> {
        let end = self.position + length;
        let padded = self.position + length.next_multiple_of(4);
        assert!(
            padded <= self.bytes.len(),
            "{padded} bytes wanted of {}: {:02x?}",
            self.bytes.len(),
            self.bytes
        );
        let taken = self.bytes[self.position..end].to_vec();
        assert!(self.bytes[end..padded].iter().all(|&byte| byte == 0), "padding is zeros");
        self.position = padded;
        taken
    }

    /// Variable-length opaque data or a string.
    pub(crate) fn opaque(&mut self) -> Vec<u8> {
        let length = self.u32();
        self.fixed(length as usize)
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Fails the case where something is left.
    pub(crate) fn end(&self) {
        assert_eq!(self.remaining(), 0, "bytes behind the results: {:02x?}", self.bytes);
    }
}
