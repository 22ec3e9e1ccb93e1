//! Makes the files of the workloads that read and write data, and the calls on them.

use bytes::Bytes;

use super::call::Stability;
use super::error::Error;
use super::prepare::{Calls, Prepared, boxed};
use super::session::{Area, Session};
use super::workload::{Block, Order, Workload};
use super::workloads::{Mixed, MixedFiles, Reads, Writes};

/// Bytes of a READ or WRITE of the mix, of each of its files, and their number for each connection.
const MIXED_BYTES: usize = 16 << 10;
const MIXED_FILE_BYTES: u64 = 64 << 10;
const MIXED_FILES: usize = 100;
impl Session {
    /// A file for each connection.
    async fn data_files(&mut self, workload: Workload) -> Result<(Area, Vec<Vec<Bytes>>), Error> {
        let area = self.area(workload.name()).await?;
        let files = self.make_files(&area, &["data".to_owned()]).await?;
        Ok((area, files))
    }

    fn block(&self, block: Block, largest: u32) -> usize {
        let bytes = match block {
            Block::Small => 4 << 10,
            Block::Large => self.data.len(),
        };
        bytes.min(largest as usize)
    }

    /// The bytes of a data file: whole blocks.
    fn file_bytes(&self, block: usize) -> u64 {
        let block = block.max(1) as u64;
        (self.settings.file_bytes / block).max(1) * block
    }

    pub(super) async fn reads(
        &mut self,
        workload: Workload,
        block: Block,
        order: Order,
    ) -> Result<Prepared, Error> {
        let (area, files) = self.data_files(workload).await?;
        let block = self.block(block, self.largest.0);
        let bytes = self.file_bytes(block);
        self.fill(&files, bytes).await?;
        let (count, depth) = (u32::try_from(block).unwrap_or(u32::MAX), self.settings.depth);
        let files = files.into_iter().flatten().enumerate();
        let sources =
            files.map(|(index, file)| Reads::new(file, bytes, count, order, (index, depth)));
        Ok(Prepared { workload, area: Some(area), calls: Calls::Endless(boxed(sources)) })
    }

    /// Sequential WRITEs make an empty file grow; random ones replace bytes.
    pub(super) async fn writes(
        &mut self,
        workload: Workload,
        block: Block,
        order: Order,
        stability: Stability,
    ) -> Result<Prepared, Error> {
        let (area, files) = self.data_files(workload).await?;
        let block = self.block(block, self.largest.1);
        let bytes = self.file_bytes(block);
        if order == Order::Random {
            self.fill(&files, bytes).await?;
        }
        let (data, depth) = (self.data.slice(..block), self.settings.depth);
        let files = files.into_iter().flatten().enumerate();
        let sources = files.map(|(index, file)| {
            Writes::new(file, bytes, data.clone(), (order, stability), (index, depth))
        });
        Ok(Prepared { workload, area: Some(area), calls: Calls::Endless(boxed(sources)) })
    }

    pub(super) async fn mixed(&mut self, workload: Workload) -> Result<Prepared, Error> {
        let area = self.area(workload.name()).await?;
        let names: Vec<_> = (0..MIXED_FILES).map(|number| format!("file-{number}")).collect();
        let handles = self.make_files(&area, &names).await?;
        self.fill(&handles, MIXED_FILE_BYTES).await?;
        let links = self.symlinks(&area).await?;
        let data = self.data.slice(..MIXED_BYTES);
        let depth = self.settings.depth;
        let places = area.branches.iter().zip(handles).zip(links).enumerate();
        let sources = places.map(|(index, ((directory, handles), link))| {
            let files = MixedFiles {
                directory: directory.clone(),
                files: names.iter().cloned().zip(handles).collect(),
                file_bytes: MIXED_FILE_BYTES,
                link,
            };
            Mixed::new(files, data.clone(), (index, depth))
        });
        let calls = Calls::Endless(boxed(sources));
        Ok(Prepared { workload, area: Some(area), calls })
    }
}
