//! The lock manager and the status monitor over the wire (X/Open XNFS chapters 10, 11 and 14), on every kind
//! of metadata store, with clients that have a port mapper and a lock manager of their own.
//!
//! Cases are named `nlm::<file>::<pair>::<case>`.

mod asynchronous;
mod expiry;
mod host;
mod ipv6;
mod locks;
mod manager;
mod reboots;
mod repeats;
mod servers;
mod shares;
mod waiting;

/// Makes of each case a test for every kind of metadata store.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        crate::nlm::cases! { memory Memory: $($case),* }
        crate::nlm::cases! { sqlite Sqlite: $($case),* }
        crate::nlm::cases! { postgres Postgres: $($case),* }
    };
    ($module:ident $pair:ident: $($case:ident),*) => {
        mod $module {
            $(#[test]
            fn $case() {
                super::$case(&crate::nfs::fixture::Fs::new(crate::nfs::fixture::Pair::$pair));
            })*
        }
    };
}
pub(crate) use cases;
