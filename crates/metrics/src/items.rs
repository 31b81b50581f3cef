//! Gold and predicted items of one unit in one form, wherever they come from.

use std::borrow::Cow;
use std::collections::HashMap;

use tabpo_answer::{Aligned, FaultKind, Grounding, Tier, align, normalise, parse};
use tabpo_corpus::{Document, Span, Unit};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::prediction::{Content, Offsets};

/// Where an item stands, as far as counting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// At these tokens of the document.
    At(Span),
    /// Nowhere in the source. Items with the same number say the same thing.
    Nowhere(u32),
}

impl Place {
    pub(crate) fn span(self) -> Option<Span> {
        match self {
            Place::At(span) => Some(span),
            Place::Nowhere(_) => None,
        }
    }
}

/// An entity, gold or predicted.
#[derive(Clone, Debug)]
pub(crate) struct EntityItem<'a> {
    pub(crate) place: Place,
    /// `None` for a label that the ontology lacks.
    pub(crate) label: Option<EntityLabelId>,
    pub(crate) subtype: Option<SubtypeId>,
    /// The text with runs of blanks turned into one space; `None` for a malformed item.
    pub(crate) text: Option<Cow<'a, str>>,
}

/// A relation, gold or predicted.
#[derive(Clone, Debug)]
pub(crate) struct RelationItem<'a> {
    pub(crate) head: Place,
    pub(crate) tail: Place,
    /// `None` for a type that the ontology lacks.
    pub(crate) label: Option<RelationLabelId>,
    /// The texts of both arguments, where they are known.
    pub(crate) texts: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

/// What only raw output can be judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawFacts {
    /// Whether it is valid as JSON, by schema, by references, by grounding.
    pub(crate) valid: [bool; 4],
    pub(crate) grounding: Vec<Option<Grounding>>,
    pub(crate) relations_malformed: u32,
    pub(crate) relations_unresolved: u32,
    pub(crate) faults: Vec<FaultKind>,
}

/// The items of one unit from one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items<'a> {
    pub(crate) entities: Vec<EntityItem<'a>>,
    pub(crate) relations: Vec<RelationItem<'a>>,
    /// How many gold relations the file lists once more than `relations` does.
    pub(crate) repeated_relations: usize,
    pub(crate) raw: Option<RawFacts>,
}

fn span_text(document: &Document, span: Span) -> Option<Cow<'_, str>> {
    let inside = !span.is_empty() && span.end as usize <= document.tokens.len();
    inside.then(|| normalise(document.span_text(span)))
}

impl<'a> Items<'a> {
    /// The gold items of a sentence, or of the whole document. A relation that crosses sentences
    /// belongs to the sentence of its head.
    pub(crate) fn gold(document: &'a Document, sentence: Option<u32>) -> Self {
        let span = Unit { document, sentence }.span();
        let mentions = &document.mentions;
        let inside = |index: u32| span.contains(mentions[index as usize].span);
        let entities = mentions.iter().filter(|mention| span.contains(mention.span)).map(|mention| EntityItem {
            place: Place::At(mention.span),
            label: Some(mention.label),
            subtype: mention.subtype,
            text: span_text(document, mention.span),
        });
        let relations = document.relations.iter().filter(|relation| inside(relation.head)).map(|relation| {
            let (head, tail) = (mentions[relation.head as usize].span, mentions[relation.tail as usize].span);
            RelationItem {
                head: Place::At(head),
                tail: Place::At(tail),
                label: Some(relation.label),
                texts: span_text(document, head).zip(span_text(document, tail)),
            }
        });
        let repeated = document.repeated_relations.iter();
        let repeated_relations = repeated.filter(|&&index| inside(document.relations[index as usize].head)).count();
        Self { entities: entities.collect(), relations: relations.collect(), repeated_relations, raw: None }
    }

    /// The predicted items of a unit.
    pub(crate) fn predicted(
        document: &'a Document,
        sentence: Option<u32>,
        content: &Content,
        ontology: &Ontology,
    ) -> Self {
        match content {
            Content::Offsets(offsets) => Self::from_offsets(document, offsets, ontology),
            Content::Raw(output) => {
                let unit = Unit { document, sentence };
                Self::from_aligned(document, align(&parse(output, ontology), &unit, ontology))
            }
        }
    }

    fn from_offsets(document: &'a Document, offsets: &Offsets, ontology: &Ontology) -> Self {
        let mut nowhere = HashMap::new();
        // Offsets that are no span are kept as false positives, equal ones as one.
        let mut place = |start: i64, end: i64| match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) if start <= end && end < u32::MAX => Place::At(Span::new(start, end + 1)),
            _ => {
                let count = nowhere.len() as u32;
                Place::Nowhere(*nowhere.entry((start, end)).or_insert(count))
            }
        };
        let text = |place: Place| place.span().and_then(|span| span_text(document, span));
        let entities = offsets.entities.iter().map(|(start, end, name)| {
            let place = place(*start, *end);
            let (label, subtype) =
                ontology.mention_in_data(name).map_or((None, None), |(label, sub)| (Some(label), sub));
            EntityItem { place, label, subtype, text: text(place) }
        });
        let entities = entities.collect();
        let relations = offsets.relations.iter().map(|(head_start, head_end, tail_start, tail_end, name)| {
            let (head, tail) = (place(*head_start, *head_end), place(*tail_start, *tail_end));
            RelationItem { head, tail, label: ontology.relation_in_data(name), texts: text(head).zip(text(tail)) }
        });
        Self { entities, relations: relations.collect(), repeated_relations: 0, raw: None }
    }

    fn from_aligned(document: &'a Document, aligned: Aligned) -> Self {
        let same: Vec<u32> = {
            let mut first_with = HashMap::new();
            let items = aligned.entities.iter().enumerate();
            let same = items.map(|(index, entity)| match (&entity.text, entity.span) {
                (Some(text), None) => *first_with.entry(text.as_str()).or_insert(index as u32),
                _ => index as u32,
            });
            same.collect()
        };
        let mut raw = RawFacts {
            valid: [Tier::Json, Tier::Schema, Tier::References, Tier::Grounding].map(|tier| aligned.valid_at(tier)),
            grounding: aligned.entities.iter().map(|entity| entity.grounding).collect(),
            relations_malformed: 0,
            relations_unresolved: 0,
            faults: aligned.faults.iter().map(|fault| fault.kind).collect(),
        };
        // The text of a placed entity is that of its span.
        let entities: Vec<EntityItem> = aligned
            .entities
            .into_iter()
            .zip(same)
            .map(|(entity, same)| EntityItem {
                place: entity.span.map_or(Place::Nowhere(same), Place::At),
                label: entity.label,
                subtype: entity.subtype,
                text: entity.span.and_then(|span| span_text(document, span)).or(entity.text.map(Cow::Owned)),
            })
            .collect();
        let relations = aligned.relations.iter().enumerate().map(|(index, relation)| {
            let nowhere = Place::Nowhere(index as u32);
            let Some((head, tail)) = relation.arguments else {
                if relation.label.is_none() {
                    raw.relations_malformed += 1;
                } else {
                    raw.relations_unresolved += 1;
                }
                return RelationItem { head: nowhere, tail: nowhere, label: relation.label, texts: None };
            };
            let (head, tail) = (&entities[head as usize], &entities[tail as usize]);
            RelationItem {
                head: head.place,
                tail: tail.place,
                label: relation.label,
                texts: head.text.clone().zip(tail.text.clone()),
            }
        });
        let relations = relations.collect();
        Self { entities, relations, repeated_relations: 0, raw: Some(raw) }
    }
}
