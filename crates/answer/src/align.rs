//! Finding emitted texts in the source.

use std::borrow::Cow;
use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};
use tabpo_corpus::{Span, Unit};
use tabpo_ontology::{Arguments, EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::fault::valid_at;
use crate::finder::Finder;
use crate::nearest_pairs::NearestPairs;
use crate::occurrences::{Source, comparable, normalise};
use crate::{
    Answer, AnswerEntity, AnswerRelation, Fault, FaultItem, FaultKind, Parsed, ParsedRelation, Tier, canonical,
};

/// How well a text is supported by the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grounding {
    /// Not in the source, not even in another letter case.
    Absent,
    /// In the source in another letter case only.
    CaseDiffers,
    /// In the source, but not at token boundaries.
    InsideTokens,
    /// At token boundaries, but every occurrence is taken, or the given one does not exist.
    Surplus,
    /// Placed.
    Placed,
}

/// The items of a model's output with their places in the source. Items keep the order and number
/// of [`Parsed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aligned<'a> {
    /// One entry for each item of the entity list.
    pub entities: Vec<AlignedEntity<'a>>,
    /// One entry for each item of the relation list.
    pub relations: Vec<AlignedRelation>,
    /// The faults of the parser and those of grounding.
    pub faults: Vec<Fault>,
}

/// An emitted entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlignedEntity<'a> {
    /// Its text with single spaces between words; `None` for a malformed item.
    pub text: Option<Cow<'a, str>>,
    /// How well the source supports the text; `None` for a malformed item.
    pub grounding: Option<Grounding>,
    /// Its place in document tokens; `None` unless it was placed.
    pub span: Option<Span>,
    /// Its label; `None` if that is unknown or the item is malformed.
    pub label: Option<EntityLabelId>,
    /// Its sub-label.
    pub subtype: Option<SubtypeId>,
}

/// An emitted relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignedRelation {
    /// Head and tail as positions in [`Aligned::entities`], both placed; `None` if either argument
    /// could not be resolved.
    pub arguments: Option<(u32, u32)>,
    /// Its type; `None` for a malformed item, which then has no arguments either.
    pub label: Option<RelationLabelId>,
}

impl Aligned<'_> {
    /// Whether the output is valid at a tier.
    pub fn valid_at(&self, tier: Tier) -> bool {
        valid_at(&self.faults, tier)
    }

    /// The spans of a relation's head and tail.
    pub fn argument_spans(&self, relation: &AlignedRelation) -> Option<(Span, Span)> {
        let (head, tail) = relation.arguments?;
        self.entities[head as usize].span.zip(self.entities[tail as usize].span)
    }

    /// The valid part of the output as a canonical answer: placed entities with a known label (and
    /// a sub-label where the label has any) and the relations between them.
    pub fn to_answer(&self, unit: &Unit, ontology: &Ontology) -> Answer {
        let mut positions = FxHashMap::default();
        let mut entities = Vec::new();
        for (index, entity) in self.entities.iter().enumerate() {
            let (Some(span), Some(label)) = (entity.span, entity.label) else { continue };
            if entity.subtype.is_none() && !ontology.entity(label).subtypes.is_empty() {
                continue;
            }
            positions.insert(index as u32, entities.len() as u32);
            let text = unit.document.span_text(span).to_owned();
            let subtype = entity.subtype;
            entities.push(AnswerEntity { text, span: Some(span), label, subtype, occurrence: None });
        }
        let relations = self.relations.iter().filter_map(|relation| {
            let (head, tail) = relation.arguments?;
            let (head, tail) = (*positions.get(&head)?, *positions.get(&tail)?);
            Some(AnswerRelation { head, tail, label: relation.label? })
        });
        let relations = relations.collect();
        canonical(unit, entities, relations)
    }
}

/// Finds every emitted item in the source of a unit.
///
/// An entity with an occurrence takes that one among the token-aligned occurrences of its text;
/// without, it takes the leftmost one that does not start before the previous placed entity and is
/// not taken, failing that the leftmost not taken. Arguments by id go to the first *placed* entity
/// with the id. Arguments by text go to the nearest pair of placed entities with these texts that
/// no earlier relation of the same type has; one with a number only to the entity that has it.
pub fn align<'a>(parsed: &Parsed<'a>, unit: &Unit, ontology: &Ontology) -> Aligned<'a> {
    debug_assert!(parsed.relations.is_empty() || !ontology.relations.is_empty());
    let mut source = Source::new(unit);
    let mut finder = Finder::new(&mut source);
    let mut faults = parsed.faults.clone();
    let marks = Marked::of(parsed, unit, &mut faults);
    let mut entities = Vec::with_capacity(parsed.entities.len());
    for (index, entity) in parsed.entities.iter().enumerate() {
        let Some(written) = &entity.text else {
            entities.push(AlignedEntity { text: None, grounding: None, span: None, label: None, subtype: None });
            continue;
        };
        let number = finder.find(written);
        let marked = entity.place.as_ref().and_then(|place| marks.as_ref()?.span(place));
        let span = match entity.occurrence {
            _ if marked.is_some() && marks.as_ref().is_some_and(|marks| marks.count) => marked,
            None => finder.default_choice(number),
            Some(occurrence) => {
                let index = usize::try_from(occurrence).ok().and_then(|occurrence| occurrence.checked_sub(1));
                index.and_then(|index| finder.places(number).get(index).copied())
            }
        };
        if let Some(span) = span {
            finder.place(number, span);
        }
        let item = FaultItem::Entity(index as u32);
        if marked.is_some() && marked != span {
            faults.push(Fault { kind: FaultKind::MarksDiffer, byte: entity.byte, item });
        }
        let grounding = if span.is_some() { Grounding::Placed } else { finder.grounding(number, written) };
        let fault = match grounding {
            Grounding::Placed => None,
            Grounding::Surplus => Some(FaultKind::SurplusOccurrence),
            Grounding::InsideTokens => Some(FaultKind::NotTokenAligned),
            Grounding::CaseDiffers => Some(FaultKind::CaseDiffers),
            Grounding::Absent => Some(FaultKind::NotInSource),
        };
        // A placed text comes out as the source writes it.
        let text = match span.map(|span| unit.document.span_text(span)) {
            Some(text) if !text.is_ascii() => Cow::Owned(normalise(text).into_owned()),
            _ => normal(written),
        };
        faults.extend(fault.map(|kind| Fault { kind, byte: entity.byte, item }));
        entities.push(AlignedEntity {
            text: Some(text),
            grounding: Some(grounding),
            span,
            label: entity.label,
            subtype: entity.subtype,
        });
    }
    let relations = match parsed.arguments {
        Arguments::Ids => link_by_id(parsed, &entities),
        Arguments::Texts => link_by_text(parsed, &entities),
    };
    Aligned { entities, relations, faults }
}

/// Where mentions are marked in the source.
struct Marked {
    /// The tokens of the unit as bytes of its text, and the first token.
    words: Vec<Range<usize>>,
    first: u32,
    /// Whether the marks decide where the entities are.
    count: bool,
}

impl Marked {
    /// Those of an answer whose marked sentence is the source; another sentence is a fault.
    fn of(parsed: &Parsed, unit: &Unit, faults: &mut Vec<Fault>) -> Option<Self> {
        let sentence = parsed.marked.as_ref()?;
        if sentence.text != unit.text() {
            faults.push(Fault { kind: FaultKind::SentenceChanged, byte: 0, item: FaultItem::Answer });
            return None;
        }
        Some(Self { words: unit.words(), first: unit.span().start, count: sentence.counts })
    }

    /// The tokens at these bytes; `None` where they begin or end inside of one.
    fn span(&self, place: &Range<usize>) -> Option<Span> {
        let start = self.words.binary_search_by_key(&place.start, |word| word.start).ok()?;
        let end = self.words.binary_search_by_key(&place.end, |word| word.end).ok()?;
        Some(Span::new(self.first + start as u32, self.first + end as u32 + 1))
    }
}

/// A text as it is shown, borrowed from the output where possible.
fn normal<'a>(text: &Cow<'a, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => normalise(text),
        Cow::Owned(text) => Cow::Owned(normalise(text).into_owned()),
    }
}

/// The parts of a relation, unless it is malformed.
fn parts<'p>(relation: &'p ParsedRelation) -> Option<(&'p str, &'p str, RelationLabelId)> {
    Some((relation.head.as_deref()?, relation.tail.as_deref()?, relation.label?))
}

/// A relation without its three parts.
const MALFORMED: AlignedRelation = AlignedRelation { arguments: None, label: None };

fn link_by_id(parsed: &Parsed, entities: &[AlignedEntity]) -> Vec<AlignedRelation> {
    // The first placed entity with the id of each entity, kept for the first one that has it.
    let mut placed: Vec<Option<u32>> = vec![None; entities.len()];
    for (index, (entity, aligned)) in (0..).zip(parsed.entities.iter().zip(entities)) {
        if aligned.span.is_some() {
            placed[entity.first_with_id as usize].get_or_insert(index);
        }
    }
    let resolve = |relation: &ParsedRelation| {
        let (_, _, label) = parts(relation)?;
        let [head, tail] = relation.holders.map(|holder| placed[holder? as usize]);
        Some(AlignedRelation { arguments: head.zip(tail), label: Some(label) })
    };
    parsed.relations.iter().map(|relation| resolve(relation).unwrap_or(MALFORMED)).collect()
}

fn link_by_text(parsed: &Parsed, entities: &[AlignedEntity]) -> Vec<AlignedRelation> {
    // The placed entities, one for each span, sorted by text and then from left to right.
    let mut bearers: Vec<(Cow<str>, Span, u32)> = Vec::new();
    if !parsed.relations.is_empty() {
        let mut seen = FxHashSet::default();
        for (index, entity) in entities.iter().enumerate() {
            if let (Some(text), Some(span)) = (&entity.text, entity.span)
                && seen.insert(span)
            {
                bearers.push((comparable(&**text), span, index as u32));
            }
        }
        bearers.sort_by(|(a, first, _), (b, second, _)| (a, first).cmp(&(b, second)));
    }
    let bearing = |text: &str| {
        let text = comparable(text);
        let first = bearers.partition_point(|(other, ..)| *other < text);
        first..first + bearers[first..].partition_point(|(other, ..)| *other == text)
    };
    let spans = |range: Range<usize>| bearers[range].iter().map(|&(_, span, _)| span).collect::<Vec<_>>();
    let entity_at = |range: Range<usize>, span: Span| {
        let bearers = &bearers[range];
        bearers[bearers.partition_point(|&(_, other, _)| other < span)].2
    };
    // The free pairs of every two texts for each type: a pair that was given out is taken.
    let mut free: FxHashMap<(usize, usize, RelationLabelId), NearestPairs> = FxHashMap::default();
    let mut resolve = |relation: &ParsedRelation| {
        let (head, tail, label) = parts(relation)?;
        if relation.numbers != [None; 2] {
            // Which entity is meant was said, so nothing has to be left for it by other relations.
            let candidates = |side: usize, text: &str| -> Vec<(Span, u32)> {
                if relation.numbers[side].is_none() {
                    return bearers[bearing(text)].iter().map(|&(_, span, index)| (span, index)).collect();
                }
                let holder = relation.holders[side];
                holder.and_then(|index| Some((entities[index as usize].span?, index))).into_iter().collect()
            };
            let arguments = nearest(&candidates(0, head), &candidates(1, tail));
            return Some(AlignedRelation { arguments, label: Some(label) });
        }
        let (heads, tails) = (bearing(head), bearing(tail));
        if heads.is_empty() || tails.is_empty() {
            return Some(AlignedRelation { arguments: None, label: Some(label) });
        }
        let pairs = free
            .entry((heads.start, tails.start, label))
            .or_insert_with(|| NearestPairs::new(spans(heads.clone()), spans(tails.clone())));
        let arguments = pairs.next().map(|(head, tail)| (entity_at(heads, head), entity_at(tails, tail)));
        Some(AlignedRelation { arguments, label: Some(label) })
    };
    parsed.relations.iter().map(|relation| resolve(relation).unwrap_or(MALFORMED)).collect()
}

/// The two entities nearest to each other, one from each list of places. Two that are given by themselves may lie on one
/// span.
fn nearest(heads: &[(Span, u32)], tails: &[(Span, u32)]) -> Option<(u32, u32)> {
    if let ([(_, head)], [(_, tail)]) = (heads, tails) {
        return (head != tail).then_some((*head, *tail));
    }
    let spans = |places: &[(Span, u32)]| places.iter().map(|&(span, _)| span).collect();
    let (head, tail) = NearestPairs::new(spans(heads), spans(tails)).next()?;
    let at = |places: &[(Span, u32)], span| places.iter().find(|place| place.0 == span).map(|place| place.1);
    at(heads, head).zip(at(tails, tail))
}
