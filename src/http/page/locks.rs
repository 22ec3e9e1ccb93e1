//! The section Locks.

use std::time::{Duration, UNIX_EPOCH};

use super::html::{Escaped, float, number};
use super::{MOST_ROWS, none, section, since, table};
use crate::http::subject::{LockClientState, LocksState};

/// Nothing where locks are not served.
pub(super) fn section_of(locks: Option<&LocksState>) -> String {
    let Some(locks) = locks else { return String::new() };
    let summary = format!(
        "{} held, {} waiting, {} unconfirmed, {} share",
        number(float(locks.held)),
        number(float(locks.waiting)),
        number(float(locks.unconfirmed)),
        number(float(locks.shares)),
    );
    let rows: String = locks.clients.iter().take(MOST_ROWS).map(row).collect();
    let head = "<th>client</th><th>name</th><th>server</th><th class=\"n\">held</th><th class=\"n\">waiting</th>\
                <th class=\"n\">unconfirmed</th><th class=\"n\">share</th><th class=\"n\">oldest</th>\
                <th class=\"n\">seen</th>";
    let body = if rows.is_empty() { none("no client has a lock") } else { table(head, &rows) };
    section(&format!("Locks <span class=\"soft\">{summary}</span>"), &body)
}

fn row(it: &LockClientState) -> String {
    let ago = |then: u64| since(UNIX_EPOCH + Duration::from_secs(then));
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{} ago</td></tr>",
        Escaped(&it.client),
        Escaped(&it.name),
        Escaped(&it.server),
        number(float(it.held)),
        number(float(it.waiting)),
        number(float(it.unconfirmed)),
        number(float(it.shares)),
        ago(it.oldest),
        ago(it.seen),
    )
}
