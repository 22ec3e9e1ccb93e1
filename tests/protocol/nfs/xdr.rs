//! XDR (RFC 4506) for arguments and results: a builder that remembers where its lengths and
//! discriminants stand, and a reader that takes nothing but canonical bytes.

use crate::client::Reader;

/// Arguments of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    pub(crate) bytes: Vec<u8>,
    /// Where the length words of variable-length items stand.
    pub(crate) lengths: Vec<usize>,
    /// Where booleans, enums and unions' discriminants stand.
    pub(crate) choices: Vec<usize>,
}

impl Args {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    /// A discriminant, an enum or a boolean.
    pub(crate) fn choice(mut self, value: u32) -> Self {
        self.choices.push(self.bytes.len());
        self.u32(value)
    }

    pub(crate) fn opaque(mut self, data: &[u8]) -> Self {
        self.lengths.push(self.bytes.len());
        self.u32(u32::try_from(data.len()).unwrap()).fixed(data)
    }

    pub(crate) fn fixed(mut self, data: &[u8]) -> Self {
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// Results of a call. Whatever is not canonical XDR is a failure of the test that reads it.
#[derive(Debug)]
pub(crate) struct Results(Reader);

impl Results {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        assert_eq!(bytes.len() % 4, 0, "results are whole XDR units");
        Self(Reader::new(bytes.to_vec()))
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.0.u32()
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.u64()
    }

    pub(crate) fn boolean(&mut self) -> bool {
        self.0.boolean()
    }

    pub(crate) fn fixed8(&mut self) -> [u8; 8] {
        self.0.fixed(8).try_into().unwrap()
    }

    pub(crate) fn opaque(&mut self, max: usize) -> Vec<u8> {
        let data = self.0.opaque();
        assert!(data.len() <= max, "{} bytes where at most {max} may be", data.len());
        data
    }

    pub(crate) fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.boolean().then(|| read(self))
    }

    pub(crate) fn left(&self) -> usize {
        self.0.remaining()
    }

    pub(crate) fn finish(self) {
        self.0.end();
    }
}
