//! serde's structs from the tree of a document: every error at its place, and reading goes on behind it.
//!
//! serde stops at the first error. Here that error is noted with the path of its value, and the document is
//! read again without the value, until nothing further is wrong. A struct names its keys itself: others are
//! refused.
//!
//! A string is not empty, unless its type asks for `str`. Three names of types have a meaning:
//! - `Store`: an enum whose variant the key `type` names, with its settings under the key of that name;
//! - `Flat`: two structs with their keys in one mapping;
//! - `Secret`: in the file itself, in another file, or a credential of systemd.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::iter::Enumerate;
use std::rc::Rc;
use std::slice;

use serde::Deserialize;
use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer as _,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_saphyr::Location;

use super::document::Document;
use super::environment;
use super::path::{Path, Step};
use super::tree::{Entry, Node, Origin, Value};

/// The furthest an unknown key may be from a known one to be taken for it (0 nothing, 1 all alike).
const ALIKE: f64 = 0.7;
/// The type of store that needs no settings.
const MEMORY: &str = "memory";
/// What stands under a key that is left out.
const NOTHING: &Node = &Node { value: Value::Null, origin: Origin::File(Location::UNKNOWN) };

/// What required keys hold, for the error where they are missing.
const REQUIRED: [(&str, &str); 5] = [
    ("name", "write the path for clients to mount, such as /export"),
    ("metadata_store", "write the name of a store"),
    ("content_store", "write the name of a store"),
    ("clients", CLIENTS),
    ("network", "write a network or an address, such as 10.0.0.0/8"),
];
/// What `clients` of a share holds.
pub(super) const CLIENTS: &str =
    "list the networks that may mount the share, such as - { network: 10.0.0.0/8, access: rw }";

/// Why a value cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What is wrong; its place is not known yet.
    #[error("{0}")]
    Message(String),
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is noted in the document.
    #[error("wrong")]
    Noted,
}

impl serde::de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Message(message.to_string())
    }

    fn missing_field(key: &'static str) -> Self {
        Self::Missing(key)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let shown = match found {
            Unexpected::Bool(flag) => flag.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Float(number) => number.to_string(),
            Unexpected::Str(text) => format!("{text:?}"),
            Unexpected::Unit => Value::Null.kind().to_owned(),
            Unexpected::Seq => Value::List(Vec::new()).kind().to_owned(),
            Unexpected::Map => Value::Map(Vec::new()).kind().to_owned(),
            other => other.to_string(),
        };
        Self::Message(format!("{shown} is not {expected}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// What a document says, as far as it can be read; what is wrong with it is noted in the document.
pub(super) fn read<'d, T: Deserialize<'d>>(document: &'d Document<'_>) -> Option<T> {
    let root = At { document, path: Path::default(), node: &document.root, flat: None };
    loop {
        let broken = document.broken_count();
        match root.settle(T::deserialize(root.clone())) {
            Ok(whole) => return Some(whole),
            Err(_) if document.broken_count() > broken => {}
            Err(_) => return None,
        }
    }
}

/// What stands at one place of a document that may be wrong elsewhere.
pub(super) fn read_at<'d, T: Deserialize<'d>>(
    document: &'d Document<'_>,
    path: &Path,
) -> Option<T> {
    let node = document.find(path)?;
    T::deserialize(At { document, path: path.clone(), node, flat: None }).ok()
}

/// The same; what is wrong there is noted in the document.
pub(super) fn read_strictly<'d, T: Deserialize<'d>>(
    document: &'d Document<'_>,
    path: &Path,
) -> Option<T> {
    let at = At { document, path: path.clone(), node: document.find(path)?, flat: None };
    at.settle(T::deserialize(at.clone())).ok()
}

/// A value in a document.
#[derive(Clone)]
pub(super) struct At<'d> {
    pub(super) document: &'d Document<'d>,
    pub(super) path: Path,
    pub(super) node: &'d Node,
    /// The keys of the structs that are read from this mapping, where there are several.
    flat: Option<Rc<RefCell<Vec<&'static str>>>>,
}

impl<'d> At<'d> {
    fn below(&self, step: Step, node: &'d Node) -> Self {
        Self { document: self.document, path: self.path.then(step), node, flat: None }
    }

    /// Notes an error of this value in the document.
    fn settle<T>(&self, read: Result<T, Failure>) -> Result<T, Failure> {
        read.map_err(|failure| {
            match failure {
                Failure::Message(message) => self.document.break_at(&self.path, message),
                Failure::Missing(key) => {
                    let remedy = REQUIRED.iter().find(|(required, _)| *required == key);
                    let remedy = remedy.map_or(String::new(), |(_, remedy)| format!("; {remedy}"));
                    self.document.break_above(&self.path.key(key), format!("missing{remedy}"));
                }
                Failure::Noted => {}
            }
            Failure::Noted
        })
    }

    /// A value of the wrong kind.
    pub(super) fn is_not(&self, expected: impl fmt::Display) -> Failure {
        Failure::Message(format!("{} is not {expected}", self.shown()))
    }

    /// The value as an error shows it.
    fn shown(&self) -> String {
        match &self.node.value {
            Value::Flag(flag) => flag.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Text(text) => format!("{text:?}"),
            value @ (Value::Null | Value::List(_) | Value::Map(_)) => value.kind().to_owned(),
        }
    }

    /// Text with its variables replaced; all that a variable holds is text. A number or flag of a file is
    /// refused: it lacks quotes.
    pub(super) fn text(&self) -> Result<String, Failure> {
        match (&self.node.value, &self.node.origin) {
            (Value::Text(text), Origin::File(_)) => {
                environment::expand(text, self.document.variable).map_err(Failure::Message)
            }
            (Value::Text(text), Origin::Variable { .. }) => Ok(text.clone()),
            (
                Value::Flag(_) | Value::Integer(_) | Value::Float(_),
                Origin::Variable { text, .. },
            ) => Ok(text.trim().to_owned()),
            (Value::Flag(_) | Value::Integer(_) | Value::Float(_), Origin::File(_)) => {
                Err(self.is_not("a string; put it in quotes"))
            }
            (Value::Null | Value::List(_) | Value::Map(_), _) => Err(self.is_not("a string")),
        }
    }

    /// One of a few words. Older YAML has `off` for false.
    fn word(&self, words: &'static [&'static str]) -> Result<&'static str, Failure> {
        let text = match self.node.value {
            Value::Flag(false) if words.contains(&"off") => "off".to_owned(),
            _ => self.text()?,
        };
        words.iter().find(|word| **word == text).copied().ok_or_else(|| {
            let near = nearest(&text, words.iter().copied());
            let near = near.map_or(String::new(), |near| format!("; did you mean '{near}'?"));
            Failure::Message(format!("{text:?} is not one of {}{near}", words.join(", ")))
        })
    }

    /// The entries of a mapping; nothing for an empty value.
    fn entries(&self) -> Option<&'d [Entry]> {
        match &self.node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            Value::Flag(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => None,
        }
    }

    /// The entries of a section that may have `keys`; notes those that it may not have.
    fn section(&self, keys: &[&'static str]) -> Result<&'d [Entry], Failure> {
        let entries = self
            .entries()
            .ok_or_else(|| self.is_not(format_args!("a mapping of {}", keys.join(", "))))?;
        #[cfg(test)]
        for key in keys {
            self.document.offered.borrow_mut().insert(self.path.key(key).pattern());
        }
        for entry in entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
            let near = nearest(&entry.key, keys.iter().copied());
            let message = match (&entry.origin, near) {
                (Origin::Variable { .. }, Some(near)) => format!(
                    "unknown key; did you mean '{near}' ({})?",
                    self.path.key(near).variable()
                ),
                (_, Some(near)) => format!("unknown key; did you mean '{near}'?"),
                (_, None) => format!("unknown key; known keys: {}", keys.join(", ")),
            };
            let path = self.path.key(&entry.key);
            self.document.note(self.document.error_from(&entry.origin, &path, message));
        }
        Ok(entries)
    }

    /// The type of a store, and its settings.
    fn store(&self, types: &'static [&'static str]) -> Result<(&'static str, Self), Failure> {
        let keys: Vec<_> = ["type"].iter().chain(types).copied().collect();
        let entries = self.section(&keys)?;
        let given = |key: &str| {
            let found = Entry::of(entries, key).map(|entry| &entry.node);
            let found = found.filter(|node| !matches!(node.value, Value::Null));
            found.map(|node| self.below(Step::Key(key.to_owned()), node))
        };
        let missing = |key: &str, remedy: String| {
            self.document.break_above(&self.path.key(key), format!("missing; {remedy}"));
            Failure::Noted
        };
        let named = given("type");
        let named =
            named.ok_or_else(|| missing("type", format!("write {}", types.join(" or "))))?;
        let kind =
            named.settle(named.word(types)).inspect_err(|_| self.document.pass_over(&self.path))?;
        for other in types.iter().filter(|other| **other != kind) {
            if let Some(other) = given(other) {
                self.document.wrong(
                    &other.path,
                    format!(
                        "the store has type {kind}, and this block is for another type; remove it, or write \
                         type: {}",
                        other.path.last()
                    ),
                );
            }
        }
        let settings = given(kind);
        let settings = settings
            .or_else(|| (kind == MEMORY).then(|| self.below(Step::Key(kind.to_owned()), NOTHING)));
        let settings = settings
            .ok_or_else(|| missing(kind, format!("a store of type {kind} needs this block")))?;
        if self.document.is_broken(&settings.path) {
            self.document.pass_over(&self.path);
            return Err(Failure::Noted);
        }
        Ok((kind, settings))
    }
}

impl<'d> Deserializer<'d> for At<'d> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failure> {
        match (&self.node.value, &self.node.origin) {
            (Value::Null, _) => visitor.visit_unit(),
            (Value::List(_), _) => self.deserialize_seq(visitor),
            (Value::Map(_), _) => self.deserialize_map(visitor),
            (Value::Text(_), _) | (_, Origin::Variable { .. }) => {
                visitor.visit_string(self.text()?)
            }
            (Value::Flag(flag), _) => visitor.visit_bool(*flag),
            (Value::Float(number), _) => visitor.visit_f64(*number),
            (Value::Integer(number), _) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                (Err(_), Err(_)) => visitor.visit_i128(*number),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failure> {
        let flag = match &self.node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(_) => self.text()?.parse().ok(),
            Value::Null | Value::Integer(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                None
            }
        };
        visitor.visit_bool(flag.ok_or_else(|| self.is_not("a boolean; write true or false"))?)
    }

    fn deserialize_str<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failure> {
        let text = self.text()?;
        if text.is_empty() {
            return Err(Failure::Message("must not be empty".to_owned()));
        }
        visitor.visit_string(text)
    }

    fn deserialize_option<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'d>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Value::List(nodes) = &self.node.value else {
            return Err(self.is_not("a list (each element starts with '- ')"));
        };
        visitor.visit_seq(Elements { nodes: nodes.iter().enumerate(), at: self })
    }

    fn deserialize_tuple_struct<V: Visitor<'d>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if name == "Secret" {
            let [text, file] = self.secret()?;
            return visitor.visit_seq(SeqDeserializer::new([text, file].into_iter()));
        }
        let keys = Rc::new(RefCell::new(Vec::new()));
        let each = Self { flat: Some(keys.clone()), ..self.clone() };
        let read = visitor.visit_seq(Parts { at: each, left: length });
        // Before, not all keys are known.
        if read.is_ok() {
            self.section(&keys.borrow())?;
        }
        read
    }

    fn deserialize_map<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.is_not("a mapping of names"));
        };
        visitor.visit_map(Entries { entries: entries.iter().collect(), at: self, next: None })
    }

    fn deserialize_struct<V: Visitor<'d>>(
        self,
        _name: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let entries = match self.flat {
            Some(ref all) => {
                all.borrow_mut().extend(keys);
                self.entries().unwrap_or_default()
            }
            None => self.section(keys)?,
        };
        let entries = self.known(entries, keys);
        visitor.visit_map(Entries { entries: entries.into(), at: self, next: None })
    }

    fn deserialize_enum<V: Visitor<'d>>(
        self,
        name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if name == "Store" {
            let (kind, settings) = self.store(words)?;
            return visitor.visit_enum(Store { kind, settings });
        }
        let word: StrDeserializer<'_, Failure> = self.word(words)?.into_deserializer();
        visitor.visit_enum(word)
    }

    forward_to_deserialize_any! {
        <W: Visitor<'d>>
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple identifier
        ignored_any
    }
}

/// The elements of a list, without those that are broken.
struct Elements<'d> {
    at: At<'d>,
    nodes: Enumerate<slice::Iter<'d, Node>>,
}

impl<'d> SeqAccess<'d> for Elements<'d> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'d>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        for (index, node) in self.nodes.by_ref() {
            let at = self.at.below(Step::Index(index), node);
            if !self.at.document.is_broken(&at.path) {
                return at.settle(seed.deserialize(at.clone())).map(Some);
            }
        }
        Ok(None)
    }
}

/// The entries of a mapping, without those that are broken.
struct Entries<'d> {
    at: At<'d>,
    entries: VecDeque<&'d Entry>,
    next: Option<At<'d>>,
}

impl<'d> MapAccess<'d> for Entries<'d> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'d>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        while let Some(entry) = self.entries.pop_front() {
            let at = self.at.below(Step::Key(entry.key.clone()), &entry.node);
            if !self.at.document.is_broken(&at.path) {
                self.next = Some(at);
                return seed.deserialize(entry.key.as_str().into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let at = self.next.take().ok_or_else(|| Failure::custom("a value without a key"))?;
        at.settle(seed.deserialize(at.clone()))
    }
}

/// One mapping, for several structs.
struct Parts<'d> {
    at: At<'d>,
    left: usize,
}

impl<'d> SeqAccess<'d> for Parts<'d> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'d>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.at.clone()).map(Some)
    }
}

/// A store of a type, and its settings.
struct Store<'d> {
    kind: &'static str,
    settings: At<'d>,
}

impl<'d> EnumAccess<'d> for Store<'d> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'d>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let kind: StrDeserializer<'_, Failure> = self.kind.into_deserializer();
        Ok((seed.deserialize(kind)?, self))
    }
}

impl<'d> VariantAccess<'d> for Store<'d> {
    type Error = Failure;

    fn newtype_variant_seed<T: DeserializeSeed<'d>>(self, seed: T) -> Result<T::Value, Failure> {
        self.settings.settle(seed.deserialize(self.settings.clone()))
    }

    fn unit_variant(self) -> Result<(), Failure> {
        Err(Failure::custom("a store has settings"))
    }

    fn tuple_variant<V: Visitor<'d>>(self, _: usize, _: V) -> Result<V::Value, Failure> {
        Err(Failure::custom("a store has settings"))
    }

    fn struct_variant<V: Visitor<'d>>(
        self,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let read = self.settings.clone().deserialize_struct(self.kind, keys, visitor);
        self.settings.settle(read)
    }
}

/// The known name that is most like another, where one is.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|each| (strsim::jaro_winkler(name, each), each))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .map(|(_, each)| each)
}

/// `; did you mean …`, or the known names.
pub(super) fn hint<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone()) {
        return format!("; did you mean '{nearest}'?");
    }
    let known: Vec<_> = known.collect();
    if known.is_empty() {
        "; none is defined".to_owned()
    } else {
        format!("; defined: {}", known.join(", "))
    }
}
