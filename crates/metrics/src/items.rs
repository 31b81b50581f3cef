//! Gold and predicted items of one unit in a common form.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use tabpo_answer::{Aligned, AlignedEntity, Fault, Grounding, Tier, align, comparable, normalise, parse_as};
use tabpo_corpus::{Document, Span, Unit};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::prediction::{Content, Item, Offsets, RawAnswer};

/// Where an item is, as counting sees it. Places are ordered by their first tokens, then by their last; those
/// that are not in the source come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ItemPlace {
    /// At these tokens of the document.
    At(Span),
    /// Not in the source. Items with the same number say the same thing.
    Nowhere(u32),
}

impl ItemPlace {
    pub(crate) fn span(self) -> Option<Span> {
        match self {
            Self::At(span) => Some(span),
            Self::Nowhere(_) => None,
        }
    }
}

/// An entity, gold or predicted.
#[derive(Clone, Debug)]
pub(crate) struct EntityItem<'a> {
    pub(crate) place: ItemPlace,
    /// `None` for a label that the ontology lacks.
    pub(crate) label: Option<EntityLabelId>,
    pub(crate) subtype: Option<SubtypeId>,
    /// The text with single spaces between words; `None` for a malformed item.
    pub(crate) text: Option<Cow<'a, str>>,
    /// How well the source supports it, for an item of raw output that has a text.
    pub(crate) grounding: Option<Grounding>,
}

/// A relation, gold or predicted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelationItem {
    pub(crate) head: ItemPlace,
    pub(crate) tail: ItemPlace,
    /// `None` for a type that the ontology lacks.
    pub(crate) label: Option<RelationLabelId>,
}

/// What is only known of raw output.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawFacts {
    /// Whether it is valid as JSON, by schema, by references, by grounding.
    pub(crate) valid: [bool; 4],
    pub(crate) relations_malformed: u32,
    pub(crate) relations_unresolved: u32,
    pub(crate) faults: Vec<Fault>,
}

/// The items of one unit from one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items<'a> {
    pub(crate) entities: Vec<EntityItem<'a>>,
    pub(crate) relations: Vec<RelationItem>,
    /// How many gold relations the file lists once more than `relations` does.
    pub(crate) repeated_relations: usize,
    pub(crate) raw: Option<RawFacts>,
}

/// The text of a place; `None` if it is not inside the document.
pub(crate) fn place_text(document: &Document, place: ItemPlace) -> Option<Cow<'_, str>> {
    span_text(document, place.span()?)
}

fn span_text(document: &Document, span: Span) -> Option<Cow<'_, str>> {
    let inside = !span.is_empty() && span.end as usize <= document.tokens.len();
    inside.then(|| normalise(document.span_text(span)))
}

impl<'a> Items<'a> {
    /// The gold items of a sentence, or of the whole document. A relation that crosses sentences
    /// belongs to the sentence of its head.
    pub(crate) fn gold(document: &'a Document, sentence: Option<u32>) -> Self {
        let unit = Unit { document, sentence };
        let span = unit.span();
        let mentions = &document.mentions;
        let inside = |index: u32| span.contains(mentions[index as usize].span);
        let entities = unit.mentions().map(|(_, mention)| EntityItem {
            place: ItemPlace::At(mention.span),
            label: Some(mention.label),
            subtype: mention.subtype,
            text: span_text(document, mention.span),
            grounding: None,
        });
        let place = |index: u32| ItemPlace::At(mentions[index as usize].span);
        let from = unit.relations_from();
        let relations =
            document.relations[from.clone()].iter().filter(|relation| inside(relation.head)).map(|relation| {
                let (head, tail) = (place(relation.head), place(relation.tail));
                RelationItem { head, tail, label: Some(relation.label) }
            });
        let repeated = &document.repeated_relations;
        let first = repeated.partition_point(|&index| (index as usize) < from.start);
        let repeated = repeated[first..].iter().take_while(|&&index| (index as usize) < from.end);
        let repeated_relations = repeated.filter(|&&index| inside(document.relations[index as usize].head)).count();
        Self { entities: entities.collect(), relations: relations.collect(), repeated_relations, raw: None }
    }

    /// The predicted items of a unit.
    pub(crate) fn predicted(
        document: &'a Document,
        sentence: Option<u32>,
        content: &'a Content,
        ontology: &Ontology,
    ) -> Self {
        let unit = Unit { document, sentence };
        match content {
            Content::Offsets(offsets) => Self::from_offsets(document, offsets, ontology),
            Content::Raw(RawAnswer { form, text }) => {
                Self::from_aligned(align(&parse_as(text, ontology, *form), &unit, ontology))
            }
        }
    }

    fn from_offsets(document: &'a Document, offsets: &Offsets, ontology: &Ontology) -> Self {
        let mut nowhere = FxHashMap::default();
        // Invalid offsets are kept as false positives, equal ones as one.
        let mut place = |start: i64, end: i64| match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) if start <= end && end < u32::MAX => ItemPlace::At(Span::new(start, end + 1)),
            _ => {
                let count = nowhere.len() as u32;
                ItemPlace::Nowhere(*nowhere.entry((start, end)).or_insert(count))
            }
        };
        let entities = offsets.entities.iter().map(|Item { tokens: [start, end], name }| {
            let place = place(*start, *end);
            let (label, subtype) =
                ontology.mention_in_data(name).map_or((None, None), |(label, sub)| (Some(label), sub));
            EntityItem { place, label, subtype, text: place_text(document, place), grounding: None }
        });
        let entities = entities.collect();
        let relations =
            offsets.relations.iter().map(|Item { tokens: [head_start, head_end, tail_start, tail_end], name }| {
                let (head, tail) = (place(*head_start, *head_end), place(*tail_start, *tail_end));
                RelationItem { head, tail, label: ontology.relation_in_data(name) }
            });
        Self { entities, relations: relations.collect(), repeated_relations: 0, raw: None }
    }

    fn from_aligned(aligned: Aligned<'a>) -> Self {
        let valid = [Tier::Json, Tier::Schema, Tier::References, Tier::Grounding].map(|tier| aligned.valid_at(tier));
        // Items that are not in the source are equal if their texts are; items without text never are.
        let mut first_with: FxHashMap<Cow<str>, u32> = FxHashMap::default();
        let entities = aligned.entities.into_iter().enumerate().map(|(index, entity)| {
            let index = index as u32;
            let place = match (entity.span, &entity.text) {
                (Some(span), _) => ItemPlace::At(span),
                (None, Some(text)) => ItemPlace::Nowhere(*first_with.entry(comparable(text.clone())).or_insert(index)),
                (None, None) => ItemPlace::Nowhere(index),
            };
            let AlignedEntity { text, label, subtype, grounding, .. } = entity;
            EntityItem { place, label, subtype, text, grounding }
        });
        let entities: Vec<EntityItem> = entities.collect();
        let mut raw = RawFacts { valid, relations_malformed: 0, relations_unresolved: 0, faults: aligned.faults };
        let relations = (0..).zip(&aligned.relations).map(|(index, relation)| {
            let nowhere = ItemPlace::Nowhere(index);
            let (head, tail) = match relation.arguments {
                Some((head, tail)) => (entities[head as usize].place, entities[tail as usize].place),
                None => (nowhere, nowhere),
            };
            if relation.arguments.is_none() && relation.label.is_none() {
                raw.relations_malformed += 1;
            } else if relation.arguments.is_none() {
                raw.relations_unresolved += 1;
            }
            RelationItem { head, tail, label: relation.label }
        });
        let relations = relations.collect();
        Self { entities, relations, repeated_relations: 0, raw: Some(raw) }
    }
}
