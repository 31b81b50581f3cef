//! The alignment of gold and predicted items of one unit.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::{FxHashMap, FxHashSet};
use tabpo_answer::comparable;
use tabpo_corpus::{Document, Span};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use super::ModeKind;
use crate::items::{EntityItem, ItemPlace, Items, RelationItem, place_text};

/// One error.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) kind: ModeKind,
    /// Label numbers: of entities or of relation types, as the kind says.
    pub(super) gold: Option<u16>,
    pub(super) gold_subtype: Option<SubtypeId>,
    pub(super) predicted: Option<u16>,
    pub(super) predicted_subtype: Option<SubtypeId>,
    pub(super) gold_text: Option<String>,
    pub(super) predicted_text: Option<String>,
    /// Position of the gold item among the distinct entities or relations of its side, as the kind says.
    pub(super) gold_at: Option<usize>,
    /// Position of the predicted item, likewise.
    pub(super) predicted_at: Option<usize>,
}

/// How often one label occurred and was found, as [`super::Exposure`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tallies {
    pub(super) gold: u64,
    pub(super) predicted: u64,
    pub(super) located: u64,
    pub(super) correct: u64,
}

/// What one unit adds.
#[derive(Clone, Debug, Default)]
pub(super) struct UnitModes {
    pub(super) events: Vec<Event>,
    /// (label number, tallies) of entities.
    pub(super) entities: Vec<(u16, Tallies)>,
    /// (type number, tallies) of relations.
    pub(super) relations: Vec<(u16, Tallies)>,
}

/// Aligns a unit: entities first, then relations between the mentions that were paired.
pub(super) fn align_unit(ontology: &Ontology, document: &Document, gold: &Items, predicted: &Items) -> UnitModes {
    let mut entities = EntityAligner::new(ontology, gold, predicted);
    entities.align();
    let mut modes = entities.finish();
    RelationAligner::new(ontology, document, gold, predicted, &modes).align(&mut modes.unit);
    modes.unit
}

/// The outcome of aligning entities.
struct EntityModes {
    unit: UnitModes,
    /// By the place of a predicted mention that of the gold mention that it was paired with first, where they
    /// differ.
    stands_for: FxHashMap<ItemPlace, ItemPlace>,
}

struct EntityAligner<'a> {
    ontology: &'a Ontology,
    gold: Vec<&'a EntityItem<'a>>,
    predicted: Vec<&'a EntityItem<'a>>,
    gold_free: Vec<bool>,
    predicted_free: Vec<bool>,
    modes: EntityModes,
}

/// The first of equal items only.
fn distinct<T, K: Eq + Hash>(items: &[T], key: impl Fn(&T) -> K) -> Vec<&T> {
    let mut seen = FxHashSet::default();
    items.iter().filter(|item| seen.insert(key(item))).collect()
}

/// The entities of a side, equal ones once: what events name by position.
pub(super) fn distinct_entities<'a>(items: &'a Items<'a>) -> Vec<&'a EntityItem<'a>> {
    distinct(&items.entities, |item| (item.place, item.label, item.subtype))
}

/// The relations of a side, equal ones once: what events name by position.
pub(super) fn distinct_relations<'a>(items: &'a Items<'a>) -> Vec<&'a RelationItem> {
    distinct(&items.relations, |item| (item.head, item.tail, item.label))
}

/// Pairs every gold item, in order, with the first predicted item that shares a key with it and is not paired
/// yet. Both come as their positions with their keys; items without a key stay unpaired.
fn first_pairs<K: Eq + Hash>(
    gold: impl Iterator<Item = (usize, Vec<K>)>,
    predicted: impl Iterator<Item = (usize, Vec<K>)>,
) -> Vec<(usize, usize)> {
    let mut queues: FxHashMap<K, VecDeque<usize>> = FxHashMap::default();
    for (index, keys) in predicted {
        for key in keys {
            queues.entry(key).or_default().push_back(index);
        }
    }
    let mut paired = FxHashSet::default();
    let pair = |(gold, keys): (usize, Vec<K>)| {
        let first = keys.iter().filter_map(|key| {
            let queue = queues.get_mut(key)?;
            while queue.front().is_some_and(|index| paired.contains(index)) {
                queue.pop_front();
            }
            queue.front().copied()
        });
        let first = first.min()?;
        paired.insert(first);
        Some((gold, first))
    };
    gold.filter_map(pair).collect()
}

impl<'a> EntityAligner<'a> {
    fn new(ontology: &'a Ontology, gold: &'a Items<'a>, predicted: &'a Items<'a>) -> Self {
        let (gold, predicted) = (distinct_entities(gold), distinct_entities(predicted));
        Self {
            ontology,
            gold_free: vec![true; gold.len()],
            predicted_free: vec![true; predicted.len()],
            gold,
            predicted,
            modes: EntityModes { unit: UnitModes::default(), stands_for: FxHashMap::default() },
        }
    }

    fn align(&mut self) {
        let places: FxHashSet<ItemPlace> = self.predicted.iter().map(|item| item.place).collect();
        let typed: FxHashSet<_> = self.predicted.iter().map(|item| (item.place, item.label)).collect();
        for gold in &self.gold {
            let Some(label) = gold.label else { continue };
            let located = places.contains(&gold.place);
            let correct = typed.contains(&(gold.place, gold.label));
            let tallies = Tallies { gold: 1, predicted: 0, located: located.into(), correct: correct.into() };
            self.modes.unit.entities.push((label.0, tallies));
        }
        for label in self.predicted.iter().filter_map(|item| item.label) {
            self.modes.unit.entities.push((label.0, Tallies { predicted: 1, ..Tallies::default() }));
        }

        // Exact matches go first, then those with a wrong sub-label, then wrong labels.
        self.pair_first(|item| Some((item.place, item.label, item.subtype)), None);
        self.pair_first(|item| Some((item.place, item.label)), Some(ModeKind::SubtypeConfusion));
        self.pair_first(|item| Some(item.place), Some(ModeKind::LabelConfusion));
        self.pair_overlapping();
        // What is not in the source has no occurrence. All of gold is.
        let text = |item: &'a EntityItem<'a>| -> Option<Cow<'a, str>> {
            item.place.span()?;
            Some(comparable(item.text.as_deref()?))
        };
        self.pair_first(|item| Some((text(item)?, item.label)), Some(ModeKind::WrongOccurrence));
        self.pair_first(text, Some(ModeKind::WrongOccurrence));
    }

    /// Pairs every free gold item, in order, with the first free predicted item that has the same key.
    fn pair_first<K: Eq + Hash>(&mut self, key: impl Fn(&'a EntityItem<'a>) -> Option<K>, kind: Option<ModeKind>) {
        let free = |free: &[bool], items: &[&'a EntityItem<'a>]| {
            let items = items.iter().enumerate().filter(|(index, _)| free[*index]);
            items.map(|(index, item)| (index, Vec::from_iter(key(item)))).collect::<Vec<_>>()
        };
        let (gold, predicted) = (free(&self.gold_free, &self.gold), free(&self.predicted_free, &self.predicted));
        for (gold, predicted) in first_pairs(gold.into_iter(), predicted.into_iter()) {
            self.pair(gold, predicted, kind);
        }
    }

    /// Pairs overlapping items: those with equal labels first, among them the largest overlap
    /// (as a Jaccard index over tokens) first.
    fn pair_overlapping(&mut self) {
        let spans = |items: &[&EntityItem], free: &[bool]| {
            let spans = items.iter().enumerate().filter(|(index, _)| free[*index]);
            let mut spans: Vec<_> = spans.filter_map(|(index, item)| Some((item.place.span()?, index))).collect();
            spans.sort_unstable();
            spans
        };
        let predicted = spans(&self.predicted, &self.predicted_free);
        // The furthest end of each prediction and those before it: it never falls.
        let mut furthest = 0;
        let reach = predicted.iter().map(|(span, _)| {
            furthest = furthest.max(span.end);
            furthest
        });
        let reach: Vec<u32> = reach.collect();
        let mut candidates = Vec::new();
        for (a, g) in spans(&self.gold, &self.gold_free) {
            let first = reach.partition_point(|&end| end <= a.start);
            let near = predicted[first..].iter().take_while(|(b, _)| b.start < a.end);
            for &(b, p) in near.filter(|(b, _)| a.overlaps(*b)) {
                let shared = a.end.min(b.end) - a.start.max(b.start);
                let union = a.end.max(b.end) - a.start.min(b.start);
                let overlap = f64::from(shared) / f64::from(union);
                let differ = self.gold[g].label != self.predicted[p].label;
                candidates.push((differ, 1.0 - overlap, g, p, boundary(a, b)));
            }
        }
        candidates.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then((a.2, a.3).cmp(&(b.2, b.3))));
        for (_, _, gold, predicted, kind) in candidates {
            if self.gold_free[gold] && self.predicted_free[predicted] {
                self.pair(gold, predicted, Some(kind));
            }
        }
    }

    fn pair(&mut self, gold: usize, predicted: usize, kind: Option<ModeKind>) {
        self.gold_free[gold] = false;
        self.predicted_free[predicted] = false;
        let (gold_place, predicted_place) = (self.gold[gold].place, self.predicted[predicted].place);
        if gold_place != predicted_place {
            self.modes.stands_for.entry(predicted_place).or_insert(gold_place);
        }
        if let Some(kind) = kind {
            self.record(kind, Some(gold), Some(predicted));
        }
    }

    /// Records an error between the items at these positions.
    fn record(&mut self, kind: ModeKind, gold_at: Option<usize>, predicted_at: Option<usize>) {
        let (gold, predicted) = (gold_at.map(|at| self.gold[at]), predicted_at.map(|at| self.predicted[at]));
        let text = |item: &EntityItem| entity_text(self.ontology, item);
        let subtype = |item: Option<&EntityItem>| item.and_then(|item| item.subtype);
        let of_subtypes = kind == ModeKind::SubtypeConfusion;
        self.modes.unit.events.push(Event {
            kind,
            gold: gold.and_then(|item| item.label).map(|label| label.0),
            gold_subtype: subtype(gold).filter(|_| of_subtypes),
            predicted: predicted.and_then(|item| item.label).map(|label| label.0),
            predicted_subtype: subtype(predicted).filter(|_| of_subtypes),
            gold_text: gold.map(text),
            predicted_text: predicted.map(text),
            gold_at,
            predicted_at,
        });
    }

    fn finish(mut self) -> EntityModes {
        for index in 0..self.gold.len() {
            if self.gold_free[index] {
                self.record(ModeKind::MissingEntity, Some(index), None);
            }
        }
        for index in 0..self.predicted.len() {
            if self.predicted_free[index] {
                self.record(ModeKind::SpuriousEntity, None, Some(index));
            }
        }
        self.modes
    }
}

fn boundary(gold: Span, predicted: Span) -> ModeKind {
    if gold.contains(predicted) {
        ModeKind::BoundaryShort
    } else if predicted.contains(gold) {
        ModeKind::BoundaryLong
    } else {
        ModeKind::BoundaryShifted
    }
}

fn label_text(ontology: &Ontology, label: Option<EntityLabelId>, subtype: Option<SubtypeId>) -> String {
    match (label, subtype) {
        (Some(label), Some(subtype)) => {
            format!("{}/{}", ontology.entity(label).name, ontology.subtype(label, subtype).name)
        }
        (Some(label), None) => ontology.entity(label).name.clone(),
        (None, _) => "unknown label".to_owned(),
    }
}

fn entity_text(ontology: &Ontology, item: &EntityItem) -> String {
    let text = item.text.as_deref().unwrap_or("no text");
    format!("{text} ({})", label_text(ontology, item.label, item.subtype))
}

/// The first entity of each place.
fn by_place<'a>(entities: &'a [EntityItem<'a>]) -> FxHashMap<ItemPlace, &'a EntityItem<'a>> {
    let mut known = FxHashMap::default();
    for entity in entities {
        known.entry(entity.place).or_insert(entity);
    }
    known
}

/// A relation with its arguments read through the alignment of entities.
struct Link<'a> {
    head: ItemPlace,
    tail: ItemPlace,
    item: &'a RelationItem,
    /// Its position among the distinct relations of its side.
    position: usize,
    free: bool,
}

struct RelationAligner<'a> {
    ontology: &'a Ontology,
    document: &'a Document,
    gold: Vec<Link<'a>>,
    predicted: Vec<Link<'a>>,
    /// The first entity of each place.
    gold_entities: FxHashMap<ItemPlace, &'a EntityItem<'a>>,
    predicted_entities: FxHashMap<ItemPlace, &'a EntityItem<'a>>,
}

impl<'a> RelationAligner<'a> {
    fn new(
        ontology: &'a Ontology,
        document: &'a Document,
        gold: &'a Items<'a>,
        predicted: &'a Items<'a>,
        entities: &EntityModes,
    ) -> Self {
        let meant = |place: ItemPlace| entities.stands_for.get(&place).copied().unwrap_or(place);
        let links = |items: &'a Items<'a>, meant: &dyn Fn(ItemPlace) -> ItemPlace| -> Vec<Link<'a>> {
            distinct_relations(items)
                .into_iter()
                .enumerate()
                .map(|(position, item)| {
                    let (head, tail) = (meant(item.head), meant(item.tail));
                    let swap = tail < head && item.label.is_some_and(|label| ontology.relation(label).symmetric);
                    let (head, tail) = if swap { (tail, head) } else { (head, tail) };
                    Link { head, tail, item, position, free: true }
                })
                .collect()
        };
        Self {
            ontology,
            document,
            gold: links(gold, &|place| place),
            predicted: links(predicted, &meant),
            gold_entities: by_place(&gold.entities),
            predicted_entities: by_place(&predicted.entities),
        }
    }

    fn align(mut self, unit: &mut UnitModes) {
        let exact = |link: &Link| (link.head, link.tail, link.item.label);
        let pair = |link: &Link| (link.head.min(link.tail), link.head.max(link.tail));
        let pairs: FxHashSet<_> = self.predicted.iter().map(pair).collect();
        let typed: FxHashSet<_> = self.predicted.iter().map(exact).collect();
        for gold in &self.gold {
            let Some(label) = gold.item.label else { continue };
            let (located, correct) = (pairs.contains(&pair(gold)), typed.contains(&exact(gold)));
            let tallies = Tallies { gold: 1, predicted: 0, located: located.into(), correct: correct.into() };
            unit.relations.push((label.0, tallies));
        }
        for label in self.predicted.iter().filter_map(|link| link.item.label) {
            unit.relations.push((label.0, Tallies { predicted: 1, ..Tallies::default() }));
        }

        self.pair_first(unit, |link| vec![exact(link)], None);
        self.pair_first(unit, |link| vec![(pair(link), link.item.label)], Some(ModeKind::DirectionReversed));
        self.pair_first(unit, |link| vec![(link.head, link.tail)], Some(ModeKind::RelationConfusion));
        self.pair_first(unit, |link| vec![pair(link)], Some(ModeKind::RelationConfusion));
        let ontology = self.ontology;
        // A type, an argument, and whether it is the head; arguments of symmetric types have no roles.
        let arguments = |link: &Link| {
            let label = link.item.label;
            let symmetric = label.is_some_and(|label| ontology.relation(label).symmetric);
            vec![(label, link.head, !symmetric), (label, link.tail, false)]
        };
        self.pair_first(unit, arguments, Some(ModeKind::ArgumentSwapped));
        for link in self.gold.iter().filter(|link| link.free) {
            unit.events.push(self.event(ModeKind::MissingLink, Some(link), None));
        }
        for link in self.predicted.iter().filter(|link| link.free) {
            unit.events.push(self.event(ModeKind::SpuriousLink, None, Some(link)));
        }
    }

    /// Pairs every free gold relation, in order, with the first free predicted one that shares a key with it.
    fn pair_first<K: Eq + Hash>(
        &mut self,
        unit: &mut UnitModes,
        keys: impl Fn(&Link) -> Vec<K>,
        kind: Option<ModeKind>,
    ) {
        let free = |links: &[Link<'a>]| {
            let links = links.iter().enumerate().filter(|(_, link)| link.free);
            links.map(|(index, link)| (index, keys(link))).collect::<Vec<_>>()
        };
        let pairs = first_pairs(free(&self.gold).into_iter(), free(&self.predicted).into_iter());
        for (gold, predicted) in pairs {
            self.gold[gold].free = false;
            self.predicted[predicted].free = false;
            let event = |kind| self.event(kind, Some(&self.gold[gold]), Some(&self.predicted[predicted]));
            unit.events.extend(kind.map(event));
        }
    }

    fn event(&self, kind: ModeKind, gold: Option<&Link>, predicted: Option<&Link>) -> Event {
        let number = |link: &Link| link.item.label.map(|label: RelationLabelId| label.0);
        Event {
            kind,
            gold: gold.and_then(number),
            gold_subtype: None,
            predicted: predicted.and_then(number),
            predicted_subtype: None,
            gold_text: gold.map(|link| self.text(link.item, &self.gold_entities)),
            predicted_text: predicted.map(|link| self.text(link.item, &self.predicted_entities)),
            gold_at: gold.map(|link| link.position),
            predicted_at: predicted.map(|link| link.position),
        }
    }

    fn text(&self, item: &RelationItem, entities: &FxHashMap<ItemPlace, &EntityItem>) -> String {
        let argument = |place: ItemPlace| {
            let text = place_text(self.document, place)?;
            let entity = entities.get(&place);
            Some(entity.map_or_else(|| text.into_owned(), |entity| entity_text(self.ontology, entity)))
        };
        let unresolved = || ("unresolved".to_owned(), "unresolved".to_owned());
        let (head, tail) = argument(item.head).zip(argument(item.tail)).unwrap_or_else(unresolved);
        let label = item.label.map_or("unknown type", |label| &self.ontology.relation(label).name);
        format!("{head} {label} {tail}")
    }
}
