//! What only this store can be asked, from inside: no statement of a call reads more than it must.

use super::*;

/// Every statement of a call, but the one that lists the shares.
fn statements() -> Vec<&'static str> {
    let reads = [read::OBJECT, read::ENTRY, read::PARENT, read::LINK, read::PAGE];
    reads.into_iter().chain(tables::STATEMENTS).collect()
}

#[test]
fn every_statement_searches_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let connection = connect::writer(&Settings::new(folder.path().join("m"))).unwrap();
    for statement in statements() {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        for number in 1..=plan.parameter_count() {
            plan.raw_bind_parameter(number, 1).unwrap();
        }
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            assert!(!step.contains("SCAN") || step == "SCAN CONSTANT ROW", "{step}: {statement}");
            assert!(!step.contains("TEMP B-TREE"), "{step}: {statement}");
        }
    }
}
