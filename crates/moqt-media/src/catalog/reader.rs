//! A catalog as it changes: whole documents, and updates of each kind.

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{
    Format, common,
    document::{Error, MAX_DOCUMENT, check, parse, size},
    hang,
    model::Broadcast,
    msf,
};

/// Most operations of one update.
pub const MAX_OPERATIONS: usize = 256;

/// Reads the frames of a catalog track.
///
/// The first frame of a group is a whole document, the others are updates of it. What cannot be applied changes nothing:
/// the catalog stays as it was, and the next group has it whole again.
#[derive(Clone, Debug)]
pub struct Reader {
    format: Format,
    value: Option<Value>,
}

impl Reader {
    /// A reader that knows nothing yet.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, value: None }
    }

    /// Forgets what it knows, at the begin of a group.
    pub fn begin(&mut self) {
        self.value = None;
    }

    /// The document as it is now, with all its fields.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// Takes the next frame of a group.
    ///
    /// # Errors
    ///
    /// When it is no catalog of the format, no update that can be applied, or beyond a limit.
    pub fn frame(&mut self, bytes: &[u8]) -> Result<Broadcast, Error> {
        let frame = parse(bytes)?;
        let next = match (self.format, self.value.clone()) {
            (Format::Common, before) if frame.is_array() => {
                json_patch(before.ok_or(Error::NothingToUpdate)?, frame)?
            }
            (Format::Msf, before)
                if frame.get("deltaUpdate").is_some_and(|delta| *delta != Value::Bool(false)) =>
            {
                msf_update(before.ok_or(Error::NothingToUpdate)?, bytes, &frame)?
            }
            (Format::Hang, Some(mut before)) => {
                json_patch::merge(&mut before, &frame);
                before
            }
            _ => frame,
        };
        if size(&next) > MAX_DOCUMENT {
            return Err(Error::TooLong(size(&next)));
        }
        let broadcast = match self.format {
            Format::Hang => hang::Catalog::from_value(&next)?.to_broadcast(),
            Format::Msf => msf::Catalog::from_value(&next)?.to_broadcast(),
            Format::Common => common::Catalog::from_value(&next)?.to_broadcast(),
        };
        self.value = Some(next);
        Ok(broadcast)
    }
}

fn update(why: impl Into<String>) -> Error {
    Error::Update(why.into())
}

/// RFC 6902, one operation after the other, as `copy` can double a document with each.
fn json_patch(mut document: Value, patch: Value) -> Result<Value, Error> {
    let operations: json_patch::Patch =
        serde_json::from_value(patch).map_err(|error| update(error.to_string()))?;
    if operations.0.len() > MAX_OPERATIONS {
        return Err(Error::TooManyOperations(operations.0.len()));
    }
    for operation in operations.0 {
        json_patch::patch(&mut document, std::slice::from_ref(&operation))
            .map_err(|error| update(error.to_string()))?;
        if size(&document) > MAX_DOCUMENT {
            return Err(Error::TooLong(size(&document)));
        }
        check(&document)?;
    }
    Ok(document)
}

/// The lists of draft 00 in the order in which they stand, or the operations of draft 01.
fn msf_update(mut document: Value, bytes: &[u8], frame: &Value) -> Result<Value, Error> {
    let operations: Vec<(String, Vec<Value>)> = match frame.get("deltaUpdate") {
        Some(Value::Array(operations)) => {
            let read = |operation: &Value| {
                let op = operation.get("op").and_then(Value::as_str)?.to_owned();
                Some((op, operation.get("tracks")?.as_array()?.clone()))
            };
            let all: Option<_> = operations.iter().map(read).collect();
            all.ok_or_else(|| update("an operation needs `op` and `tracks`"))?
        }
        Some(Value::Bool(true)) => {
            let Ordered(fields) =
                serde_json::from_slice(bytes).map_err(|error| Error::Json(error.to_string()))?;
            let lists = fields.into_iter().filter_map(|(name, value)| {
                let op = match name.as_str() {
                    "addTracks" => "add",
                    "removeTracks" => "remove",
                    "cloneTracks" => "clone",
                    _ => return None,
                };
                match value {
                    Value::Array(tracks) => Some(Ok((op.to_owned(), tracks))),
                    _ => Some(Err(update(format!("{name} is no list")))),
                }
            });
            lists.collect::<Result<_, _>>()?
        }
        _ => return Err(update("deltaUpdate is neither true nor a list")),
    };
    let count = operations.iter().map(|(_, tracks)| tracks.len().max(1)).sum();
    if count > MAX_OPERATIONS {
        return Err(Error::TooManyOperations(count));
    }
    let tracks = document.get_mut("tracks").and_then(Value::as_array_mut);
    let tracks = tracks.ok_or_else(|| update("the catalog has no tracks"))?;
    for (op, entries) in operations {
        for entry in entries {
            let Value::Object(entry) = entry else { return Err(update("a track is no object")) };
            msf_operation(tracks, &op, entry)?;
            let total: usize = tracks.iter().map(size).sum();
            if total > MAX_DOCUMENT {
                return Err(Error::TooLong(total));
            }
        }
    }
    if let (Some(complete), Value::Object(root)) = (frame.get("isComplete"), &mut document) {
        root.insert("isComplete".to_owned(), complete.clone());
    }
    check(&document)?;
    Ok(document)
}

fn msf_operation(tracks: &mut Vec<Value>, op: &str, mut entry: Map<String, Value>) -> Result<(), Error> {
    let text =
        |entry: &Map<String, Value>, field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    let name = text(&entry, "name").ok_or_else(|| update(format!("{op}: a track has no name")))?;
    let namespace = text(&entry, "namespace");
    let place = |tracks: &[Value], name: &str, namespace: Option<&str>| {
        let field = |track: &Value, field| track.get(field).and_then(Value::as_str).map(str::to_owned);
        tracks.iter().position(|track| {
            field(track, "name").as_deref() == Some(name) && field(track, "namespace").as_deref() == namespace
        })
    };
    let there = place(tracks, &name, namespace.as_deref());
    match (op, there) {
        ("add" | "clone", Some(_)) => Err(update(format!("{op}: there is a track {name:?} already"))),
        ("add", None) => {
            tracks.push(Value::Object(entry));
            Ok(())
        }
        ("remove", Some(at)) => {
            tracks.remove(at);
            Ok(())
        }
        ("clone", None) => {
            let parent = text(&entry, "parentName").ok_or_else(|| update("clone: parentName is missing"))?;
            let parent_namespace = text(&entry, "parentNamespace");
            let at = place(tracks, &parent, parent_namespace.as_deref());
            let found = at.and_then(|at| tracks.get(at)).and_then(Value::as_object);
            let mut clone =
                found.ok_or_else(|| update(format!("clone: there is no track {parent:?}")))?.clone();
            entry.remove("parentName");
            entry.remove("parentNamespace");
            clone.extend(entry);
            tracks.push(Value::Object(clone));
            Ok(())
        }
        ("remove", None) => Err(update(format!("remove: there is no track {name:?}"))),
        (other, _) => Err(update(format!("the operation {other:?} is not known"))),
    }
}

/// The fields of an object in the order in which they stand.
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
