//! Statements by name: how often each ran, and how long.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::counters::{Measured, Readings};

/// What ran on the connections of one store. A statement takes a tenth of a millisecond or more, so that one
/// lock for all is never waited for.
#[derive(Debug, Default)]
pub(super) struct Statements(Mutex<BTreeMap<&'static str, Ran>>);

#[derive(Clone, Debug)]
struct Ran {
    name: String,
    times: u64,
    took: Duration,
}

impl Statements {
    /// Counts a statement that ran so long. Its text is one of the program's, of which there are some dozens.
    pub(super) fn count(&self, statement: &'static str, took: Duration) {
        let mut ran = self.0.lock();
        let ran = ran.entry(statement).or_insert_with(|| Ran {
            name: name(statement),
            times: 0,
            took: Duration::ZERO,
        });
        ran.times += 1;
        ran.took += took;
    }
}

impl Measured for Statements {
    fn read(&self, to: &mut Readings) {
        let mut by_name = BTreeMap::<_, (u64, Duration)>::new();
        for ran in self.0.lock().values() {
            let sum = by_name.entry(ran.name.clone()).or_default();
            sum.0 += ran.times;
            sum.1 += ran.took;
        }
        for (name, (times, took)) in &by_name {
            let labels = [("statement", name.as_str())];
            let help = "Statements of PostgreSQL, by function or table";
            to.counter("trunkfs_postgres_statements", help, &labels, *times);
            let help = "How long statements of PostgreSQL took";
            to.seconds("trunkfs_postgres_statement_seconds", help, &labels, *took);
        }
    }
}

/// The function that a statement calls, or the table that it reads first.
fn name(statement: &str) -> String {
    let is_part = |each: char| each.is_ascii_alphanumeric() || each == '_' || each == '.';
    let behind = |word: &str| {
        let at = statement.find(word)? + word.len();
        let rest = statement[at..].trim_start();
        let end = rest.find(|each| !is_part(each)).unwrap_or(rest.len());
        Some(rest[..end].to_ascii_lowercase()).filter(|name| !name.is_empty())
    };
    let from = ["FROM ", "UPDATE ", "INTO "].into_iter().find_map(behind);
    from.or_else(|| behind("SELECT ")).unwrap_or_else(|| "other".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_the_name_of_their_function_or_table() {
        for (statement, expected) in [
            ("SELECT * FROM settle($1, $2)", "settle"),
            ("SELECT pg_logical_emit_message(true, 'trunkfs', '')", "pg_logical_emit_message"),
            ("UPDATE writer_slots SET epoch = 1", "writer_slots"),
            ("\n    SELECT a\n      FROM files f WHERE id = $1", "files"),
        ] {
            assert_eq!(name(statement), expected);
        }
    }
}
