//! What a job came to, from the output of its command.

use serde_json::Value;

use super::command::Ended;
use super::record::{Job, Outcome};

/// The exit status of `fsck` that says that errors were left; fsck(8).
const ERRORS_LEFT: i32 = 4;

/// What a job came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) findings: u64,
    pub(super) text: String,
}

impl Verdict {
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, findings: 0, text: text.into() }
    }

    /// Of a command that has ended.
    pub(super) fn of(job: Job, ended: &Ended) -> Self {
        let summary = ended.out.last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        let status = ended.status.code();
        match (job, summary, status) {
            (Job::Backup, Some(it), Some(0 | 1)) if it.get("folder").is_some() => backup(&it),
            (Job::Fsck, Some(it), Some(0 | ERRORS_LEFT)) if it.get("summary").is_some() => {
                fsck(&it["summary"])
            }
            (Job::Gc, Some(it), Some(0)) => gc(&it),
            (_, _, status) => {
                let told = ended.err.error();
                let silent = || match status {
                    Some(status) => format!("exit status {status}"),
                    None => ended.status.to_string(),
                };
                Self::failed(told.map_or_else(silent, str::to_owned))
            }
        }
    }

    fn found(findings: u64, text: String) -> Self {
        let outcome = if findings == 0 { Outcome::Done } else { Outcome::Findings };
        Self { outcome, findings, text }
    }
}

/// The lines that an administrator should see: the first errors, and what a check found first.
pub(super) fn lines(ended: &Ended) -> Vec<String> {
    let finding = |line: &String| {
        let found: Value = serde_json::from_str(line).ok()?;
        let place = found["path"].as_str().or(found["share"].as_str()).or(found["store"].as_str());
        Some(format!("{}: {}", place?, found["text"].as_str()?))
    };
    ended.err.first.iter().cloned().chain(ended.out.first.iter().filter_map(finding)).collect()
}

fn number(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or_default()
}

fn backup(summary: &Value) -> Verdict {
    let folder = summary["folder"].as_str().unwrap_or_default();
    let (copied, kept) = (number(summary, "copied"), number(summary, "kept"));
    let wrong = number(&summary["verified"], "wrong");
    if summary["damaged"] == true {
        return Verdict::found(wrong.max(1), format!("{folder} failed its verification"));
    }
    let text = format!("{folder}: {copied} files copied, {kept} reused");
    match number(summary, "lost") {
        0 => Verdict::found(0, text),
        lost => Verdict::found(lost, format!("{text}; the content of {lost} files is missing")),
    }
}

fn fsck(summary: &Value) -> Verdict {
    let (objects, contents) = (number(summary, "objects"), number(summary, "contents"));
    let findings = number(summary, "findings");
    Verdict::found(findings, format!("{objects} objects, {contents} contents; errors: {findings}"))
}

fn gc(summary: &Value) -> Verdict {
    let stores = summary["stores"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |key: &str| stores.iter().map(|store| number(store, key)).sum::<u64>();
    let (removed, bytes) = (sum("removed"), sum("removed_bytes"));
    Verdict::found(0, format!("{removed} unused contents removed ({bytes} bytes)"))
}
