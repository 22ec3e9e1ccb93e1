//! The record of the content's owners: an object beside the contents, replaced as a whole under the condition
//! that it is still the one that was read.

use bytes::Bytes;
use object_store::UpdateVersion;

use super::bucket::{Bucket, Ended, Expected};
use super::error::foreign;
use crate::content::{Error, MAX_OWNERS};

const OWNERS: &str = "owners";

impl Bucket {
    /// The record and its version; `None` where there is none.
    pub(super) async fn owners(&self) -> Result<Option<(String, UpdateVersion)>, Error> {
        let key = self.layout.beside(OWNERS);
        match self.backoff(None).run(|| self.get(&key, None, None)).await {
            Ok(got) => {
                let text = String::from_utf8(got.bytes.to_vec());
                let text = text.map_err(|_| foreign(key.as_ref(), "not a record of owners"))?;
                Ok(Some((text, got.version)))
            }
            Err(Ended::Absent) => Ok(None),
            Err(ended) => Err(ended.into_error()),
        }
    }

    /// Replaces the record where it is `seen`.
    pub(super) async fn set_owners(&self, seen: Option<&str>, text: &str) -> Result<bool, Error> {
        if text.len() > MAX_OWNERS {
            let long = format!("the record of owners has more than {MAX_OWNERS} bytes");
            return Err(Error::Io(std::io::Error::other(long)));
        }
        let present = self.owners().await?;
        if present.as_ref().map(|(text, _)| text.as_str()) != seen {
            return Ok(false);
        }
        let expected = present.map_or(Expected::Nothing, |(_, version)| Expected::Version(version));
        let (key, bytes) = (self.layout.beside(OWNERS), Bytes::from(text.to_owned()));
        let put = || self.put(&key, bytes.clone().into(), &expected);
        match self.backoff(None).run(put).await {
            Ok(_) => Ok(true),
            // Another process was first, or an attempt of this call whose answer was lost.
            Err(Ended::Changed) => {
                Ok(self.owners().await?.is_some_and(|(present, _)| present == text))
            }
            Err(ended) => Err(ended.into_error()),
        }
    }
}
