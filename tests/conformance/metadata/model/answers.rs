//! Answers without what may differ between two stores: ids, fileids and content ids become labels, in the
//! order of their appearance; cookies are left out.

use std::collections::HashMap;

use trunkfs::metadata::{
    Answer, Change, Created, Flush, FlushOutcome, LinkTarget, Lookup, Refusal, Removed, Renamed,
    Replaced, SettingDone, Written, ZeroingOutcome,
};
use trunkfs::types::{Attributes, ContentId, ContentRef, Fileid, Fsid, ObjectId};
use uuid::Uuid;

use super::steps::Step;
use crate::metadata::world::{Caller, World, name, target};

/// A call's answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    error: Option<String>,
    pub(super) objects: Vec<Option<Attributes>>,
    notes: Vec<String>,
}

/// One of the two stores, and what it calls the objects that both have.
pub(super) struct Side {
    pub(super) world: World,
    ids: Vec<ObjectId>,
    contents: Vec<ContentId>,
    labels: HashMap<Uuid, usize>,
    fileids: HashMap<Fileid, usize>,
}

fn label(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

impl Side {
    pub(super) fn new(world: World) -> Self {
        let (labels, fileids) = (HashMap::new(), HashMap::new());
        Self { world, ids: Vec::new(), contents: Vec::new(), labels, fileids }
    }

    fn object_label(&mut self, id: ObjectId) -> usize {
        let next = self.ids.len();
        let number = *self.labels.entry(id.0).or_insert(next);
        if number == next {
            self.ids.push(id);
        }
        number
    }

    fn content_label(&mut self, id: ContentId) -> ContentId {
        let next = self.contents.len();
        let number = *self.labels.entry(id.0).or_insert(next);
        if number == next {
            self.contents.push(id);
        }
        ContentId(label(number))
    }

    /// Attributes as both stores show them.
    pub(super) fn shown(&mut self, attributes: &Attributes) -> Attributes {
        let number = self.object_label(attributes.id);
        let known = *self.fileids.entry(attributes.fileid).or_insert(number);
        assert_eq!(known, number, "two objects have {:?}", attributes.fileid);
        let parent = attributes.parent.map(|parent| ObjectId(label(self.object_label(parent))));
        let content = attributes
            .content
            .map(|content| ContentRef { id: self.content_label(content.id), ..content });
        Attributes {
            id: ObjectId(label(number)),
            fileid: Fileid(number as u64),
            fsid: Fsid(0),
            parent,
            content,
            ..attributes.clone()
        }
    }

    fn id(&self, number: usize) -> ObjectId {
        self.ids[number]
    }

    /// A content as this store calls it.
    fn content(&self, shown: ContentRef) -> ContentRef {
        let number = usize::try_from(shown.id.0.as_u128()).unwrap();
        ContentRef { id: self.contents[number], ..shown }
    }

    fn outcome<T>(
        &mut self,
        answer: Answer<T>,
        of: impl FnOnce(&mut Self, T) -> (Vec<Attributes>, Vec<String>),
    ) -> Outcome {
        match answer {
            Ok(answer) => {
                let (objects, notes) = of(self, answer);
                let objects = objects.iter().map(|it| Some(self.shown(it))).collect();
                Outcome { error: None, objects, notes }
            }
            Err(Refusal { error, first, second }) => {
                let objects = [first, second].map(|it| it.map(|it| self.shown(&it)));
                let error = Some(format!("{error:?}"));
                Outcome { error, objects: objects.into(), notes: Vec::new() }
            }
        }
    }

    fn freed(&mut self, freed: Option<ContentId>) -> String {
        format!("freed {:?}", freed.map(|content| self.content_label(content)))
    }

    fn created(&mut self, answer: Answer<Created>) -> Outcome {
        self.outcome(answer, |_, Created { directory: Change { before, after }, object, made }| {
            (vec![before.unwrap(), after, object], vec![format!("made {made}")])
        })
    }

    fn removed(&mut self, answer: Answer<Removed>) -> Outcome {
        self.outcome(answer, |side, Removed { directory: Change { before, after }, object }| {
            let Replaced { attributes, freed } = object;
            (vec![before.unwrap(), after, attributes], vec![side.freed(freed)])
        })
    }

    fn looked_up(&mut self, answer: Answer<Lookup>) -> Outcome {
        self.outcome(answer, |_, Lookup { directory, object }| {
            ([directory].into_iter().chain(object).collect(), Vec::new())
        })
    }

    /// The answer to a call.
    pub(super) async fn answer(&mut self, caller: &Caller, step: &Step) -> Outcome {
        let (store, cx) = (&caller.store, caller.cx());
        match step {
            Step::Getattr(object) => {
                let answer = caller.getattr(self.id(*object)).await.map_err(Refusal::from);
                self.outcome(answer, |_, attributes| (vec![attributes], Vec::new()))
            }
            Step::Lookup(directory, it) => {
                let answer = caller.lookup(self.id(*directory), it).await;
                self.looked_up(answer)
            }
            Step::Parent(directory) => {
                let answer = caller.parent(self.id(*directory)).await;
                self.looked_up(answer)
            }
            Step::Readlink(link) => {
                let answer = caller.readlink(self.id(*link)).await;
                self.outcome(answer, |_, link| {
                    (vec![link.attributes], vec![format!("{:?}", link.target)])
                })
            }
            Step::List(directory) => self.list(caller, *directory).await,
            Step::Setattr(object, set) => {
                let answer = caller.setattr(self.id(*object), set.clone()).await;
                self.outcome(answer, |side, SettingDone { change, freed }| {
                    (vec![change.before.unwrap(), change.after], vec![side.freed(freed)])
                })
            }
            Step::Create(directory, it, how) => {
                let answer = caller.create_how(self.id(*directory), it, how.clone()).await;
                self.created(answer)
            }
            Step::Mkdir(directory, it, set) => {
                let answer = caller.mkdir_with(self.id(*directory), it, set.clone()).await;
                self.created(answer)
            }
            Step::Symlink(directory, it, to, set) => {
                let (directory, it, to) = (self.id(*directory), name(it), target(to));
                let answer = store.symlink(&cx, directory, &it, &to, set).await;
                self.created(answer)
            }
            Step::Mknod(directory, it, kind, rdev, set) => {
                let (directory, it) = (self.id(*directory), name(it));
                let answer = store.mknod(&cx, directory, &it, *kind, *rdev, set).await;
                self.created(answer)
            }
            Step::Remove(directory, it) => {
                let answer = caller.remove(self.id(*directory), it).await;
                self.removed(answer)
            }
            Step::Rmdir(directory, it) => {
                let answer = caller.rmdir(self.id(*directory), it).await;
                self.removed(answer)
            }
            Step::Rename(from, from_name, to, to_name) => {
                let (from, to) = (self.id(*from), self.id(*to));
                let answer = caller.rename(from, from_name, to, to_name).await;
                self.outcome(answer, renamed)
            }
            Step::Link(object, directory, it) => {
                let answer = caller.link(self.id(*object), self.id(*directory), it).await;
                self.outcome(answer, |_, LinkTarget { object, directory }| {
                    (vec![object, directory.before.unwrap(), directory.after], Vec::new())
                })
            }
            Step::Flush(file, flush) => {
                let written =
                    flush.written.map(|it| Written { content: self.content(it.content), ..it });
                let flush = Flush { written, ..flush.clone() };
                let answer = caller.flush(self.id(*file), &flush).await;
                self.outcome(answer, |_, outcome| match outcome {
                    FlushOutcome::Recorded(Change { before, after }) => {
                        (vec![before.unwrap(), after], Vec::new())
                    }
                    FlushOutcome::Superseded(present) => {
                        (vec![present], vec!["superseded".to_owned()])
                    }
                })
            }
            Step::Zero(file, content) => {
                let content = self.content(*content);
                let answer = caller.begin_zeroing(self.id(*file), content).await;
                self.outcome(answer, |side, outcome| {
                    let (what, content) = match outcome {
                        ZeroingOutcome::Begun(content) => ("begun", content),
                        ZeroingOutcome::Superseded(content) => ("superseded", content),
                    };
                    let id = side.content_label(content.id);
                    (Vec::new(), vec![format!("{what} {:?}", ContentRef { id, ..content })])
                })
            }
        }
    }

    /// In pages of three; sorted by name, since two stores' cookies differ.
    async fn list(&mut self, caller: &Caller, directory: usize) -> Outcome {
        let directory = self.id(directory);
        let (mut entries, mut after) = (Vec::new(), 0);
        loop {
            let page = match caller.page(directory, after, 3).await {
                Ok(page) => page,
                Err(refusal) => {
                    return self.outcome(Err::<(), _>(refusal), |_, ()| Default::default());
                }
            };
            assert!(page.entries.iter().all(|entry| entry.cookie.0 > after));
            after = page.entries.last().map_or(after, |entry| entry.cookie.0);
            entries.extend(page.entries);
            if page.eof {
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                let shown = [page.directory].into_iter();
                let shown = shown.chain(entries.iter().filter_map(|it| it.attributes.clone()));
                let names = entries.iter().map(|entry| entry.name.to_string());
                return self.outcome(Ok(()), |_, ()| (shown.collect(), names.collect()));
            }
        }
    }
}

fn renamed(side: &mut Side, renamed: Renamed) -> (Vec<Attributes>, Vec<String>) {
    let Renamed { from, to, object, replaced } = renamed;
    let mut objects = vec![from.before.unwrap(), from.after, to.before.unwrap(), to.after, object];
    let mut notes = Vec::new();
    if let Some(Replaced { attributes, freed }) = replaced {
        objects.push(attributes);
        notes.push(side.freed(freed));
    }
    (objects, notes)
}
