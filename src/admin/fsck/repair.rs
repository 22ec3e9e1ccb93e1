//! What is done about a finding.

use std::time::Duration;

use super::{Check, Finding, Found, Outcome, Remedy, RepairAccess, Stopped};
use crate::metadata::{Repair, Repaired, SetAttributes};
use crate::types::{Chain, Context, Name, ObjectId, ShareId};

/// The directory of a share's root that gets what has no name.
const LOST_AND_FOUND: &[u8] = b"lost+found";
/// How long an operation may take.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(60);

/// What a finding came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It was said.
    Said,
    /// Another process has changed what it is about: it was not reported.
    Changed,
}

/// What a change came to.
enum Made {
    Done,
    Changed,
    Not(String),
}

impl From<Repaired> for Made {
    fn from(mended: Repaired) -> Self {
        match mended {
            Repaired::Done => Self::Done,
            Repaired::Changed => Self::Changed,
            Repaired::NameTaken => Self::Not("the new name is taken".to_owned()),
        }
    }
}

/// The context of what is no client's call. It is not cancelled: a change under way is awaited.
fn context(share: ShareId) -> Context {
    Context::internal(share, CALL_LIMIT)
}

impl Check<'_> {
    /// Mends what is found, where that is wanted, and says it.
    pub(super) async fn settle(
        &mut self,
        finding: Finding,
        share: Option<ShareId>,
        path: Option<String>,
    ) -> Result<Settled, Stopped> {
        self.still_wanted()?;
        let outcome = match self.access {
            None => Outcome::Said,
            Some(access) => match self.apply(access, &finding, share).await? {
                Made::Done => Outcome::Repaired,
                Made::Changed => return Ok(Settled::Changed),
                Made::Not(why) => Outcome::Left(why),
            },
        };
        self.tally.findings += 1;
        self.tally.mended += u64::from(outcome == Outcome::Repaired);
        let share = share.and_then(|id| self.share(id)).map(|share| share.name.clone());
        self.report.found(&Found { finding, share, path, outcome });
        Ok(Settled::Said)
    }

    async fn apply(
        &mut self,
        access: RepairAccess<'_>,
        finding: &Finding,
        share: Option<ShareId>,
    ) -> Result<Made, Stopped> {
        let mend = match finding.remedy() {
            Remedy::None(what) => return Ok(Made::Not(what.to_owned())),
            Remedy::Repair(mend, _) => mend,
            Remedy::Adopt(object, ctime) => match self.place(access, share).await? {
                Ok(into) => Repair::Adopt { object, ctime, into },
                Err(why) => return Ok(Made::Not(why)),
            },
            Remedy::Move(directory) => return self.move_away(access, share, directory).await,
        };
        match mend {
            Repair::SetParent { .. }
            | Repair::KeepOneName { .. }
            | Repair::Adopt { .. }
            | Repair::Rename { .. } => {
                self.paths.forget();
            }
            Repair::RemoveEntry { .. }
            | Repair::SetNames { .. }
            | Repair::SetSubdirs { .. }
            | Repair::ForgetNames { .. }
            | Repair::SetUsage { .. }
            | Repair::Amend { .. }
            | Repair::SetUsed { .. }
            | Repair::Renumber { .. }
            | Repair::SetCookie { .. }
            | Repair::Raise { .. } => {}
        }
        Ok(access.repairer.repair(&mend).await?.into())
    }

    /// The directory that gets what has no name, made where there is none; or why there is none.
    async fn place(
        &mut self,
        access: RepairAccess<'_>,
        share: Option<ShareId>,
    ) -> Result<Result<ObjectId, String>, Stopped> {
        let Some(share) = share.and_then(|id| self.share(id)).cloned() else {
            return Ok(Err("it belongs to no share".to_owned()));
        };
        if let Some(known) = self.lost_and_found.get(&share.id)
            && !self.checker.objects_of(&[*known]).await?.is_empty()
        {
            return Ok(Ok(*known));
        }
        let cx = context(share.id);
        let Ok(name) = Name::parse(LOST_AND_FOUND) else {
            return Ok(Err("lost+found is not a valid name".to_owned()));
        };
        let found = match access.store.lookup(&cx, share.root, &name).await {
            Ok(found) => found.object,
            Err(refusal) => return Ok(Err(without_place(&refusal.error))),
        };
        let object = match found {
            Some(object) => object,
            None => {
                let set = SetAttributes { mode: Some(0o700), ..SetAttributes::default() };
                match access.store.mkdir(&cx, share.root, &name, &set).await {
                    Ok(made) => made.object,
                    Err(refusal) => return Ok(Err(without_place(&refusal.error))),
                }
            }
        };
        if !object.file_type.is_directory() {
            return Ok(Err(format!("{}/lost+found is not a directory: rename it", share.name)));
        }
        self.lost_and_found.insert(share.id, object.id);
        Ok(Ok(object.id))
    }

    /// Moves a directory of a circle out of it: a rename like any other.
    async fn move_away(
        &mut self,
        access: RepairAccess<'_>,
        share: Option<ShareId>,
        directory: ObjectId,
    ) -> Result<Made, Stopped> {
        let into = match self.place(access, share).await? {
            Ok(into) => into,
            Err(why) => return Ok(Made::Not(why)),
        };
        let found = self.checker.objects_of(&[directory]).await?.into_iter().next();
        let Some((share, parent)) = found.and_then(|it| Some((it.share, it.parent?))) else {
            return Ok(Made::Changed);
        };
        let Some(name) = self.checker.name_in(parent, directory).await? else {
            return Ok(Made::Changed);
        };
        let (Ok(name), Ok(new)) =
            (Name::parse(&name), Name::parse(directory.to_string().as_bytes()))
        else {
            return Ok(Made::Not("its name is invalid".to_owned()));
        };
        self.paths.forget();
        let cx = context(share);
        match access.store.rename(&cx, parent, &name, into, &new).await {
            Ok(_) => Ok(Made::Done),
            Err(refusal) => Ok(Made::Not(format!("it cannot be moved: {}", Chain(&refusal.error)))),
        }
    }
}

fn without_place(error: &crate::metadata::Error) -> String {
    format!("lost+found is missing and cannot be created: {}", Chain(error))
}
