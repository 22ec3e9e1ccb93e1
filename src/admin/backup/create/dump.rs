//! The dump of a backup.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use tokio::sync::mpsc;

use super::Dumped;
use crate::admin::Progress;
use crate::admin::backup::Error;
use crate::admin::backup::list::Row;
use crate::admin::dump::Writer;
use crate::metadata::Record;
use crate::ownership;
use crate::types::{ShareName, utc_now};

/// Writes the shares that are wanted, or all, durably.
pub(super) fn write_dump(
    to: &Path,
    mut from: mpsc::Receiver<Vec<Record>>,
    only: &[ShareName],
    job: &Progress,
) -> Result<Dumped, Error> {
    let failed = Error::at(to);
    let moment = utc_now();
    let file = BufWriter::new(ownership::create(to, 0o666).map_err(&failed)?);
    let mut writer = Writer::new(file, &moment).map_err(&failed)?;
    let (mut bytes, mut shares, mut wanted) = (0_u64, Vec::new(), true);
    while let Some(records) = from.blocking_recv() {
        job.check()?;
        job.advance(records.len() as u64);
        for record in records {
            match &record {
                Record::Share(share) => {
                    wanted = only.is_empty() || only.contains(&share.name);
                    if wanted {
                        shares.push(share.clone());
                    }
                }
                Record::Object(object) if wanted => {
                    // Sizes are whatever clients said: three sums of the largest are too many.
                    bytes = bytes.saturating_add(Row::of(object).map_or(0, |row| row.size));
                }
                Record::Object(_) | Record::Entry(_) => {}
            }
            if wanted {
                writer.record(&record).map_err(&failed)?;
            }
        }
    }
    let counts = writer.counts();
    let ended = writer.finish().and_then(|mut out| {
        out.flush()?;
        out.get_ref().sync_all()
    });
    ended.map_err(failed)?;
    Ok(Dumped { moment, counts, bytes, shares })
}
