//! A task in an export of Label Studio.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{CharacterMap, Characters, Name, Offsets, Stated};
use crate::{Note, Notes, Problem};

/// Bookkeeping fields of a task, which are not counted as left out.
const OF_TASK: [&str; 27] = [
    "id",
    "data",
    "annotations",
    "completions",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
    "inner_id",
    "project",
    "file_upload",
    "is_labeled",
    "overlap",
    "total_annotations",
    "cancelled_annotations",
    "total_predictions",
    "total_completions",
    "cancelled_completions",
    "comment_count",
    "unresolved_comment_count",
    "comment_authors",
    "last_comment_updated_at",
    "annotators",
    "completed_at",
    "allow_skip",
    "precomputed_agreement",
    "draft_exists",
];

/// The same of an annotation.
const OF_ANNOTATION: [&str; 23] = [
    "id",
    "completed_by",
    "result",
    "was_cancelled",
    "skipped",
    "ground_truth",
    "honeypot",
    "created_at",
    "updated_at",
    "draft_created_at",
    "created_ago",
    "created_username",
    "lead_time",
    "prediction",
    "result_count",
    "unique_id",
    "import_id",
    "last_action",
    "bulk_created",
    "task",
    "project",
    "updated_by",
    "last_created_by",
];

/// The same of a result.
const OF_RESULT: [&str; 14] = [
    "id",
    "from_name",
    "to_name",
    "type",
    "value",
    "origin",
    "from_id",
    "to_id",
    "direction",
    "labels",
    "score",
    "readonly",
    "hidden",
    "locked",
];

/// What is known of a region's value.
const OF_VALUE: [&str; 7] = ["start", "end", "text", "labels", "startOffset", "endOffset", "globalOffsets"];

/// A task, with the one of its annotations that is read.
pub(super) struct Task {
    id: Option<Name>,
    data: Map<String, Value>,
    items: Vec<Item>,
}

/// A result of an annotation.
pub(super) struct Item {
    pub(super) kind: String,
    to_name: Option<String>,
    /// What is labelled, for results of the type `labels`.
    region: Option<Region>,
    pub(super) from_id: String,
    pub(super) to_id: String,
    pub(super) direction: Option<String>,
    pub(super) labels: Vec<String>,
}

/// A stretch of text with labels.
pub(super) struct Region {
    pub(super) id: String,
    /// Offsets as the file gives them; what regions like this one are called if it gives none.
    pub(super) at: Result<Characters, &'static str>,
    text: Option<String>,
    pub(super) labels: Vec<String>,
    /// Whether it is about another text than the one that is read.
    is_elsewhere: bool,
}

/// An object in which no field may come twice: it would not be clear which one is meant.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut fields = Map::new();
                while let Some(name) = map.next_key::<String>()? {
                    if fields.contains_key(&name) {
                        return Err(M::Error::custom(format!("duplicate field `{name}`")));
                    }
                    fields.insert(name, map.next_value()?);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

#[derive(Deserialize)]
struct RawTask {
    id: Option<Name>,
    data: Option<Fields>,
    annotations: Option<Vec<RawAnnotation>>,
    completions: Option<Vec<RawAnnotation>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct RawAnnotation {
    was_cancelled: Option<bool>,
    skipped: Option<bool>,
    result: Option<Vec<RawItem>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct RawItem {
    id: Option<Name>,
    r#type: Option<String>,
    to_name: Option<Value>,
    value: Option<Fields>,
    from_id: Option<Name>,
    to_id: Option<Name>,
    direction: Option<String>,
    labels: Option<Value>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Counts non-empty fields that are not read.
fn note_others<'v>(
    owner: &str,
    others: impl IntoIterator<Item = (&'v String, &'v Value)>,
    known: &[&str],
    notes: &mut Notes,
) {
    for (name, value) in others {
        let is_empty = match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            _ => false,
        };
        if !is_empty && !known.contains(&name.as_str()) {
            notes.add(Note::IgnoredField(format!("{owner}{name}")));
        }
    }
}

/// The names in a list of labels; a single one need not be in a list.
fn names(labels: Option<&Value>, notes: &mut Notes) -> Vec<String> {
    let labels = match labels {
        None | Some(Value::Null) => &[],
        Some(Value::Array(labels)) => &labels[..],
        Some(label) => std::slice::from_ref(label),
    };
    let names: Vec<String> = labels.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    (names.len()..labels.len()).for_each(|_| notes.ignore("labels that are not strings"));
    names
}

/// The offsets of a region's value.
fn offsets(value: &Map<String, Value>) -> Result<Characters, &'static str> {
    // Above this, not every whole number is a float.
    const LARGEST: f64 = (1_u64 << 53) as f64;
    let field = |name: &str| value.get(name).filter(|offset| !offset.is_null());
    let number = |offset: &Value| {
        let float = offset.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < LARGEST);
        offset
            .as_i64()
            .or(float.map(|float| float as i64))
            .ok_or("regions whose `start` or `end` is not a whole number")
    };
    match (field("start"), field("end")) {
        (Some(start), Some(end)) => Ok(Characters { start: number(start)?, end: number(end)? }),
        _ if field("globalOffsets").is_some() => Err("regions with `globalOffsets` instead of `start` and `end`"),
        _ => Err("regions without offsets"),
    }
}

impl Item {
    fn new(raw: RawItem, notes: &mut Notes) -> Self {
        note_others("result.", &raw.others, &OF_RESULT, notes);
        let id = raw.id.map(|Name(id)| id).unwrap_or_default();
        let kind = raw.r#type.unwrap_or_default();
        let region = (kind == "labels").then(|| {
            let Fields(value) = raw.value.unwrap_or_default();
            note_others("value.", &value, &OF_VALUE, notes);
            let labels = names(value.get("labels"), notes);
            let text = value.get("text").and_then(Value::as_str).map(str::to_owned);
            Region { id, at: offsets(&value), text, labels, is_elsewhere: false }
        });
        Self {
            kind,
            to_name: raw.to_name.and_then(|name| name.as_str().map(str::to_owned)),
            region,
            from_id: raw.from_id.map(|Name(id)| id).unwrap_or_default(),
            to_id: raw.to_id.map(|Name(id)| id).unwrap_or_default(),
            direction: raw.direction,
            labels: names(raw.labels.as_ref(), notes),
        }
    }
}

impl Region {
    /// The words that the file repeats.
    pub(super) fn words(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| !text.is_empty())
    }
}

impl Task {
    /// Reads a task; fields that are not read are counted.
    pub(super) fn read(json: &str, notes: &mut Notes) -> Result<Self, serde_json::Error> {
        let RawTask { id, data, annotations, completions, others } = serde_json::from_str(json)?;
        let Some(Fields(data)) = data else {
            return Err(serde::de::Error::custom(
                "a task without `data`; of Label Studio's exports the one called `JSON` is read, JSON-MIN is not",
            ));
        };
        note_others("", &others, &OF_TASK, notes);
        let mut items = None;
        for raw in annotations.into_iter().chain(completions).flatten() {
            if items.is_some() || raw.was_cancelled == Some(true) || raw.skipped == Some(true) {
                notes.ignore("cancelled or further annotations of a task");
                continue;
            }
            note_others("annotation.", &raw.others, &OF_ANNOTATION, notes);
            let results = raw.result.unwrap_or_default().into_iter();
            items = Some(results.map(|item| Item::new(item, notes)).collect());
        }
        Ok(Self { id, data, items: items.unwrap_or_default() })
    }

    /// The name of the document.
    pub(super) fn key(&self) -> Option<String> {
        let key = self.data.get("doc_key").and_then(|key| Name::deserialize(key).ok());
        key.or_else(|| self.id.clone()).map(|Name(key)| key)
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The labelled stretches of the text that is read.
    pub(super) fn regions(&self) -> impl Iterator<Item = &Region> {
        self.items.iter().filter_map(|item| item.region.as_ref()).filter(|region| !region.is_elsewhere)
    }

    /// Those of other texts.
    pub(super) fn regions_elsewhere(&self) -> impl Iterator<Item = &Region> {
        self.items.iter().filter_map(|item| item.region.as_ref()).filter(|region| region.is_elsewhere)
    }

    /// From here on, regions of anything but `labelled` are elsewhere.
    pub(super) fn keep_regions_of(&mut self, labelled: &str) {
        for Item { to_name, region, .. } in &mut self.items {
            if let Some(region) = region {
                region.is_elsewhere = to_name.as_deref().is_some_and(|name| name != labelled);
            }
        }
    }

    /// For every region the name of what was labelled, often that of the field that holds it.
    pub(super) fn labelled_names(&self) -> impl Iterator<Item = &str> {
        let of_regions =
            self.items.iter().filter(|item| item.region.as_ref().is_some_and(|region| !region.is_elsewhere));
        of_regions.filter_map(|item| item.to_name.as_deref())
    }

    /// The fields with a text, those first that are most likely the one that was labelled.
    fn texts(&self) -> Vec<(&str, &str)> {
        let labelled = self.labelled_names().next();
        let texts = self.data.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let mut texts: Vec<(&str, &str)> = texts.filter(|(name, _)| *name != "doc_key").collect();
        texts.sort_by_key(|(name, _)| (Some(*name) != labelled, *name != "text"));
        texts
    }

    /// The field whose text has the words of all regions at their offsets, if any says its words.
    pub(super) fn field_that_fits(&self) -> Option<String> {
        let stated = self
            .regions()
            .filter_map(|region| Some(Stated { pieces: vec![region.at.ok()?], words: Some(region.words()?) }));
        let stated: Vec<Stated> = stated.collect();
        let fits = |(_, text): &(&str, &str)| Offsets::check(&CharacterMap::new(text), &stated).is_ok();
        let texts = if stated.is_empty() { Vec::new() } else { self.texts() };
        texts.into_iter().find(fits).map(|(name, _)| name.to_owned())
    }

    /// The text that is labelled: of the field that fits, of the one that is `usual` in the file, of `text`,
    /// or of the only one there is. What else the task's data holds is counted.
    pub(super) fn text(&self, usual: Option<&str>, notes: &mut Notes) -> Result<&str, Problem> {
        let texts = self.texts();
        let fitting = self.field_that_fits();
        let named = |name: &str| texts.iter().find(|(other, _)| *other == name);
        let names = [fitting.as_deref(), usual, self.labelled_names().next(), Some("text")];
        let chosen = names.into_iter().flatten().find_map(named);
        let Some(&(name, text)) = chosen.or(if texts.len() == 1 { texts.first() } else { None }) else {
            let names: Vec<String> = self.data.keys().map(|name| format!("`{name}`")).collect();
            return Err(match names.len() {
                0 => Problem::MissingField { field: "data.text" },
                _ if texts.is_empty() => Problem::malformed(format!(
                    "`data` has the fields {}, none of which is a string: the text is a string, usually in `text`",
                    names.join(", ")
                )),
                _ => Problem::malformed(format!(
                    "`data` has the fields {}, and it is not clear which one holds the text; call it `text`",
                    names.join(", ")
                )),
            });
        };
        note_others("data.", &self.data, &[name, "doc_key"], notes);
        Ok(text)
    }
}
