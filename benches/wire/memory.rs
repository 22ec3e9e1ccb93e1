//! A server over memory stores, to measure without a database.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use trunkfs::content::MemoryContent;
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{MetadataStore as _, RootSpec, ShareSpec};
use trunkfs::mount::Mount;
use trunkfs::nfs3::Nfs3;
use trunkfs::server::{Server, ServerSettings};
use trunkfs::types::ShareName;
use trunkfs::vfs::{ClientRule, ExportSettings, Squash, Vfs, WriteBehind};

use crate::Result;

/// Serves `export` to this machine until the process ends.
pub(crate) async fn serve(export: &str) -> Result<SocketAddr> {
    let store = Arc::new(MemoryStore::new());
    let root = RootSpec { uid: 0, gid: 0, mode: 0o777 };
    let spec = ShareSpec { name: ShareName::parse(export)?, root, chunk_size: 4 << 20 };
    let share = store.open_share(&spec).await?;
    let rule = ClientRule {
        network: "127.0.0.0/8".parse()?,
        read_only: false,
        squash: Squash::None,
        anonymous: (65_534, 65_534),
        reserved_port: false,
    };
    let vfs = Vfs::new(vec![ExportSettings {
        share,
        rules: vec![rule],
        metadata: store,
        content: Arc::new(MemoryContent::new()),
        write_behind: WriteBehind::default(),
    }])?;
    let settings = ServerSettings::new(vec![([127, 0, 0, 1], 0).into()]);
    let programs = vec![Arc::new(Nfs3::new(Arc::clone(&vfs))) as _, Arc::new(Mount::new(vfs)) as _];
    let server = Server::bind(settings, programs).await?;
    let address = server.local_addr();
    tokio::spawn(server.run(CancellationToken::new()));
    Ok(address)
}
