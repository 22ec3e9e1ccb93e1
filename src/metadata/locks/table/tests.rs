//! The table beside a model that has a cell for every byte.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use super::LockTable;
use crate::metadata::{
    LockBytes, LockClient, LockFilter, LockKind, LockLimits, LockOutcome, LockOwner, LockRange,
    LockRequest, Transport, WaitHow,
};
use crate::types::{ObjectId, Timestamp};

/// Bytes that have cells of their own; the last cell stands for all behind them.
const BYTES: usize = 16;

type Cells = [Option<LockKind>; BYTES + 1];

fn table() -> LockTable {
    LockTable::new(Uuid::new_v4(), LockLimits::default())
}

fn address() -> IpAddr {
    [192, 0, 2, 1].into()
}

fn owner(svid: i32) -> LockOwner {
    let name = LockBytes::new(b"host").unwrap();
    LockOwner { client: Arc::new(LockClient::new(address(), name, "server".into())), svid }
}

fn request(file: ObjectId, svid: i32, range: LockRange, kind: LockKind) -> LockRequest {
    let oh = LockBytes::new(b"oh").unwrap();
    LockRequest { file, owner: owner(svid), range, kind, oh, state: 1 }
}

fn how() -> WaitHow {
    let handle = LockBytes::new(b"handle").unwrap();
    WaitHow { handle, version: 4, transport: Transport::Tcp, local: address() }
}

fn range(first: u64, last: u64) -> LockRange {
    LockRange::new(first, last).unwrap()
}

fn random_range(rng: &mut StdRng) -> LockRange {
    let first = rng.random_range(0..=BYTES as u64);
    let last = rng.random_range(first..=BYTES as u64);
    range(first, if last == BYTES as u64 { LockRange::END } else { last })
}

/// The cells of a range.
fn cells(range: LockRange) -> std::ops::RangeInclusive<usize> {
    let last = usize::try_from(range.last()).unwrap_or(BYTES).min(BYTES);
    usize::try_from(range.first()).unwrap().min(BYTES)..=last
}

/// What an owner's cells come to as rows.
fn canonical(cells: &Cells) -> Vec<(LockRange, LockKind)> {
    let mut rows: Vec<(LockRange, LockKind)> = Vec::new();
    for (at, kind) in cells.iter().enumerate() {
        let Some(kind) = *kind else { continue };
        let last = if at == BYTES { LockRange::END } else { at as u64 };
        match rows.last_mut() {
            Some((before, known)) if *known == kind && before.last() + 1 == at as u64 => {
                *before = range(before.first(), last);
            }
            Some(_) | None => rows.push((range(at as u64, last), kind)),
        }
    }
    rows
}

fn rows_of(table: &LockTable, file: ObjectId, svid: i32) -> Vec<(LockRange, LockKind)> {
    let filter = LockFilter { file: Some(file), svid: Some(svid), ..LockFilter::default() };
    let records = table.list(&filter, None, usize::MAX);
    records.into_iter().map(|record| (record.range, record.kind)).collect()
}

#[test]
fn verdicts_and_rows_are_those_of_a_model_of_bytes() {
    let mut rng = StdRng::seed_from_u64(16);
    let (mut table, file) = (table(), ObjectId::generate());
    let mut model: BTreeMap<i32, Cells> = (0..3).map(|svid| (svid, [None; BYTES + 1])).collect();
    for step in 0..5000 {
        let svid = rng.random_range(0..3);
        let wanted = random_range(&mut rng);
        let unlocks = rng.random_range(0..3) == 0;
        let kind = LockKind::of(rng.random());
        if unlocks {
            table.unlock(Timestamp(step), file, &owner(svid), wanted);
            model.get_mut(&svid).unwrap()[cells(wanted)].fill(None);
        } else {
            let conflicts = model.iter().filter(|(other, _)| **other != svid).any(|(_, its)| {
                its[cells(wanted)].iter().flatten().any(|held| held.conflicts(kind))
            });
            let request = request(file, svid, wanted, kind);
            assert_eq!(table.test(&request).is_some(), conflicts, "step {step}");
            let outcome = table.lock(Timestamp(step), &request, None);
            if conflicts {
                assert_eq!(outcome, LockOutcome::Denied, "step {step}");
            } else {
                assert_eq!(outcome, LockOutcome::Granted, "step {step}");
                model.get_mut(&svid).unwrap()[cells(wanted)].fill(Some(kind));
            }
        }
        for (svid, cells) in &model {
            assert_eq!(rows_of(&table, file, *svid), canonical(cells), "step {step}, owner {svid}");
        }
        let rows: usize = model.values().map(|cells| canonical(cells).len()).sum();
        assert_eq!(table.totals().locks, rows as u64, "step {step}");
        table.committed();
    }
}

#[test]
fn changes_that_are_taken_back_leave_the_table_as_it_was() {
    let mut rng = StdRng::seed_from_u64(7);
    let (mut table, files) = (table(), [ObjectId::generate(), ObjectId::generate()]);
    let everything = |table: &LockTable| {
        let filter = LockFilter::default();
        (table.list(&filter, None, usize::MAX), table.totals(), table.clients.len())
    };
    for step in 0..2000 {
        let before = everything(&table);
        for at in 0..rng.random_range(1..4) {
            let file = files[rng.random_range(0..2)];
            let (svid, wanted) = (rng.random_range(0..3), random_range(&mut rng));
            let now = Timestamp(step * 10 + at);
            match rng.random_range(0..6) {
                0 => drop(table.unlock(now, file, &owner(svid), wanted)),
                1 => drop(table.reserve(file, 2)),
                2 => {
                    if let Some(cookie) = table.cookies.keys().min().copied() {
                        table.settle(now, cookie, rng.random());
                    }
                }
                _ => {
                    let request = request(file, svid, wanted, LockKind::of(rng.random()));
                    table.lock(now, &request, Some(&how()));
                }
            }
        }
        if rng.random() {
            table.committed();
        } else {
            table.undo();
            assert_eq!(everything(&table), before, "step {step}");
        }
        let waiting: usize = table.waiting.values().map(|of_owner| of_owner.len()).sum();
        let totals = table.totals();
        assert_eq!(totals.waiters, waiting as u64, "step {step}");
        assert_eq!(totals.reservations, table.cookies.len() as u64, "step {step}");
        let counted: u64 = table.clients.values().map(|row| row.locks + row.waiters).sum();
        assert_eq!(totals.all() - totals.clients, counted, "step {step}");
        table.take_woken();
    }
}

#[test]
fn rows_of_two_states_of_a_client_stay_apart() {
    let (mut table, file) = (table(), ObjectId::generate());
    let lock = |table: &mut LockTable, first, last, state| {
        let request = request(file, 1, range(first, last), LockKind::Exclusive);
        let outcome = table.lock(Timestamp(1), &LockRequest { state, ..request }, None);
        assert_eq!(outcome, LockOutcome::Granted);
    };
    lock(&mut table, 0, 9, 3);
    lock(&mut table, 10, 19, 5);
    assert_eq!(rows_of(&table, file, 1).len(), 2);
    // The part that is locked again is of the new state.
    lock(&mut table, 4, 5, 5);
    assert_eq!(rows_of(&table, file, 1).len(), 4);
    lock(&mut table, 0, 19, 5);
    assert_eq!(rows_of(&table, file, 1), [(range(0, 19), LockKind::Exclusive)]);
}

#[test]
fn a_repeat_of_a_lock_changes_no_row() {
    let (mut table, file) = (table(), ObjectId::generate());
    let request = request(file, 1, range(0, 9), LockKind::Exclusive);
    table.lock(Timestamp(1), &request, None);
    table.committed();
    let inside = LockRequest { range: range(2, 3), ..request.clone() };
    for request in [&request, &inside] {
        assert_eq!(table.lock(Timestamp(2), request, None), LockOutcome::Granted);
    }
    assert_eq!(table.changes().count(), 0);
}

#[test]
fn a_store_has_so_many_rows() {
    let limits = LockLimits { all: 4, ..LockLimits::default() };
    let (mut table, file) = (LockTable::new(Uuid::new_v4(), limits), ObjectId::generate());
    let lock = |table: &mut LockTable, svid, at| {
        let request = request(file, svid, range(at, at), LockKind::Exclusive);
        table.lock(Timestamp(1), &request, Some(&how()))
    };
    // The client counts too.
    assert_eq!(lock(&mut table, 1, 0), LockOutcome::Granted);
    assert_eq!(lock(&mut table, 2, 2), LockOutcome::Granted);
    assert_eq!(lock(&mut table, 3, 0), LockOutcome::Blocked);
    assert_eq!(lock(&mut table, 3, 2), LockOutcome::NoLocks);
    assert_eq!(lock(&mut table, 3, 4), LockOutcome::NoLocks);
    assert_eq!(lock(&mut table, 3, 0), LockOutcome::Blocked, "a poll");
    assert_eq!(lock(&mut table, 1, 0), LockOutcome::Granted, "a repeat");
    assert_eq!(lock(&mut table, 1, 1), LockOutcome::Granted, "no row more");
    table.unlock(Timestamp(1), file, &owner(2), LockRange::WHOLE);
    assert_eq!(lock(&mut table, 3, 4), LockOutcome::Granted);
}

#[test]
fn waiters_and_clients_that_are_not_seen_go_in_time() {
    const MINUTE: i64 = 60_000_000_000;
    let (mut table, file) = (table(), ObjectId::generate());
    let ask = |table: &mut LockTable, svid, now| {
        let request = request(file, svid, LockRange::WHOLE, LockKind::Exclusive);
        table.lock(Timestamp(now), &request, Some(&how()))
    };
    let limit = std::time::Duration::from_secs(150);
    assert_eq!(ask(&mut table, 1, 0), LockOutcome::Granted);
    assert_eq!(ask(&mut table, 2, 0), LockOutcome::Blocked);
    assert_eq!(ask(&mut table, 3, 0), LockOutcome::Blocked);
    assert_eq!(ask(&mut table, 3, 2 * MINUTE), LockOutcome::Blocked);
    assert_eq!(table.tidy(Timestamp(3 * MINUTE), limit, None).waiters, 1);
    assert_eq!(table.tidy(Timestamp(3 * MINUTE), limit, None).waiters, 0);
    for svid in [1, 3] {
        table.unlock(Timestamp(3 * MINUTE), file, &owner(svid), LockRange::WHOLE);
    }
    let day = 24 * 60 * MINUTE;
    assert_eq!(
        table.tidy(Timestamp(day), limit, None).clients,
        0,
        "seen a day ago, but for a while"
    );
    assert_eq!(table.tidy(Timestamp(day + 3 * MINUTE), limit, None).clients, 1);
    assert_eq!(table.totals(), crate::metadata::LockTotals::default());
}
