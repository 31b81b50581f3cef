//! The alignment of gold and predicted items of one unit.

use tabpo_answer::comparable;
use tabpo_corpus::{Document, Span};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use super::ModeKind;
use crate::items::{EntityItem, Items, Place, RelationItem, place_text};

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
    /// Places of predicted mentions and of the gold mentions that they were paired with, where
    /// these differ.
    stands_for: Vec<(Place, Place)>,
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
fn distinct<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> K) -> Vec<&T> {
    let mut kept: Vec<&T> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.iter().any(|other| key(other) == key(item)) {
            kept.push(item);
        }
    }
    kept
}

impl<'a> EntityAligner<'a> {
    fn new(ontology: &'a Ontology, gold: &'a Items<'a>, predicted: &'a Items<'a>) -> Self {
        let key = |item: &EntityItem| (item.place, item.label, item.subtype);
        let (gold, predicted) = (distinct(&gold.entities, key), distinct(&predicted.entities, key));
        Self {
            ontology,
            gold_free: vec![true; gold.len()],
            predicted_free: vec![true; predicted.len()],
            gold,
            predicted,
            modes: EntityModes { unit: UnitModes::default(), stands_for: Vec::new() },
        }
    }

    fn align(&mut self) {
        let tally = |label: EntityLabelId, tallies| (label.0, tallies);
        for gold in &self.gold {
            let Some(label) = gold.label else { continue };
            let located = self.predicted.iter().any(|item| item.place == gold.place);
            let correct = self.predicted.iter().any(|item| item.place == gold.place && item.label == gold.label);
            let tallies = Tallies { gold: 1, predicted: 0, located: located.into(), correct: correct.into() };
            self.modes.unit.entities.push(tally(label, tallies));
        }
        for label in self.predicted.iter().filter_map(|item| item.label) {
            self.modes.unit.entities.push(tally(label, Tallies { predicted: 1, ..Tallies::default() }));
        }

        // Exact matches go first, then those with a wrong sub-label, then wrong labels.
        self.pair_first(
            |gold, predicted| {
                gold.place == predicted.place && gold.label == predicted.label && gold.subtype == predicted.subtype
            },
            None,
        );
        self.pair_first(
            |gold, predicted| gold.place == predicted.place && gold.label == predicted.label,
            Some(ModeKind::SubtypeConfusion),
        );
        self.pair_first(|gold, predicted| gold.place == predicted.place, Some(ModeKind::LabelConfusion));
        self.pair_overlapping();
        for same_label in [true, false] {
            self.pair_first(
                |gold, predicted| {
                    predicted.place.span().is_some()
                        && same_text(gold, predicted)
                        && (!same_label || gold.label == predicted.label)
                },
                Some(ModeKind::WrongOccurrence),
            );
        }
    }

    /// Pairs every free gold item, in order, with the first free predicted item that fits.
    fn pair_first(&mut self, fits: impl Fn(&EntityItem, &EntityItem) -> bool, kind: Option<ModeKind>) {
        for gold in 0..self.gold.len() {
            let found = (0..self.predicted.len()).find(|&predicted| {
                self.gold_free[gold]
                    && self.predicted_free[predicted]
                    && fits(self.gold[gold], self.predicted[predicted])
            });
            if let Some(predicted) = found {
                self.pair(gold, predicted, kind);
            }
        }
    }

    /// Pairs overlapping items: those with equal labels first, among them the largest overlap
    /// (as a Jaccard index over tokens) first.
    fn pair_overlapping(&mut self) {
        let mut candidates = Vec::new();
        for (g, gold) in self.gold.iter().enumerate().filter(|(g, _)| self.gold_free[*g]) {
            for (p, predicted) in self.predicted.iter().enumerate().filter(|(p, _)| self.predicted_free[*p]) {
                let (Some(a), Some(b)) = (gold.place.span(), predicted.place.span()) else { continue };
                if a.overlaps(b) {
                    let shared = a.end.min(b.end) - a.start.max(b.start);
                    let union = a.end.max(b.end) - a.start.min(b.start);
                    let overlap = f64::from(shared) / f64::from(union);
                    candidates.push((gold.label != predicted.label, 1.0 - overlap, g, p, boundary(a, b)));
                }
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
        let (gold, predicted) = (self.gold[gold], self.predicted[predicted]);
        if gold.place != predicted.place {
            self.modes.stands_for.push((predicted.place, gold.place));
        }
        if let Some(kind) = kind {
            self.record(kind, Some(gold), Some(predicted));
        }
    }

    fn record(&mut self, kind: ModeKind, gold: Option<&EntityItem>, predicted: Option<&EntityItem>) {
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
        });
    }

    fn finish(mut self) -> EntityModes {
        for index in 0..self.gold.len() {
            if self.gold_free[index] {
                self.record(ModeKind::MissingEntity, Some(self.gold[index]), None);
            }
        }
        for index in 0..self.predicted.len() {
            if self.predicted_free[index] {
                self.record(ModeKind::SpuriousEntity, None, Some(self.predicted[index]));
            }
        }
        self.modes
    }
}

/// Whether both have a text and it is the same, however its characters are composed.
fn same_text(a: &EntityItem, b: &EntityItem) -> bool {
    let (Some(a), Some(b)) = (a.text.as_deref(), b.text.as_deref()) else { return false };
    a == b || !a.is_ascii() && !b.is_ascii() && comparable(a) == comparable(b)
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

/// A relation with its arguments read through the alignment of entities.
struct Link<'a> {
    head: Place,
    tail: Place,
    item: &'a RelationItem,
    free: bool,
}

struct RelationAligner<'a> {
    ontology: &'a Ontology,
    document: &'a Document,
    gold: Vec<Link<'a>>,
    predicted: Vec<Link<'a>>,
    gold_entities: &'a [EntityItem<'a>],
    predicted_entities: &'a [EntityItem<'a>],
}

impl<'a> RelationAligner<'a> {
    fn new(
        ontology: &'a Ontology,
        document: &'a Document,
        gold: &'a Items<'a>,
        predicted: &'a Items<'a>,
        entities: &EntityModes,
    ) -> Self {
        let meant = |place: Place| {
            let pair = entities.stands_for.iter().find(|(written, _)| *written == place);
            pair.map_or(place, |&(_, meant)| meant)
        };
        let links = |items: &'a Items<'a>, meant: &dyn Fn(Place) -> Place| -> Vec<Link<'a>> {
            let key = |item: &RelationItem| (item.head, item.tail, item.label);
            let items = distinct(&items.relations, key);
            items
                .into_iter()
                .map(|item| {
                    let (head, tail) = (meant(item.head), meant(item.tail));
                    let swap = tail < head && item.label.is_some_and(|label| ontology.relation(label).symmetric);
                    let (head, tail) = if swap { (tail, head) } else { (head, tail) };
                    Link { head, tail, item, free: true }
                })
                .collect()
        };
        Self {
            ontology,
            document,
            gold: links(gold, &|place| place),
            predicted: links(predicted, &meant),
            gold_entities: &gold.entities,
            predicted_entities: &predicted.entities,
        }
    }

    fn align(mut self, unit: &mut UnitModes) {
        let same_pair =
            |a: &Link, b: &Link| (a.head, a.tail) == (b.head, b.tail) || (a.head, a.tail) == (b.tail, b.head);
        let exact = |a: &Link, b: &Link| (a.head, a.tail, a.item.label) == (b.head, b.tail, b.item.label);
        for gold in &self.gold {
            let Some(label) = gold.item.label else { continue };
            let located = self.predicted.iter().any(|link| same_pair(gold, link));
            let correct = self.predicted.iter().any(|link| exact(gold, link));
            let tallies = Tallies { gold: 1, predicted: 0, located: located.into(), correct: correct.into() };
            unit.relations.push((label.0, tallies));
        }
        for label in self.predicted.iter().filter_map(|link| link.item.label) {
            unit.relations.push((label.0, Tallies { predicted: 1, ..Tallies::default() }));
        }

        self.pair_first(unit, exact, None);
        let same_label = |a: &Link, b: &Link| a.item.label == b.item.label;
        self.pair_first(unit, |a, b| same_label(a, b) && same_pair(a, b), Some(ModeKind::DirectionReversed));
        self.pair_first(unit, |a, b| (a.head, a.tail) == (b.head, b.tail), Some(ModeKind::RelationConfusion));
        self.pair_first(unit, same_pair, Some(ModeKind::RelationConfusion));
        let ontology = self.ontology;
        let shares_argument = |a: &Link, b: &Link| {
            let symmetric = a.item.label.is_some_and(|label| ontology.relation(label).symmetric);
            a.head == b.head || a.tail == b.tail || (symmetric && (a.head == b.tail || a.tail == b.head))
        };
        self.pair_first(unit, |a, b| same_label(a, b) && shares_argument(a, b), Some(ModeKind::ArgumentSwapped));
        for link in self.gold.iter().filter(|link| link.free) {
            unit.events.push(self.event(ModeKind::MissingLink, Some(link), None));
        }
        for link in self.predicted.iter().filter(|link| link.free) {
            unit.events.push(self.event(ModeKind::SpuriousLink, None, Some(link)));
        }
    }

    fn pair_first(&mut self, unit: &mut UnitModes, fits: impl Fn(&Link, &Link) -> bool, kind: Option<ModeKind>) {
        for gold in 0..self.gold.len() {
            let found = (0..self.predicted.len()).find(|&predicted| {
                let (gold, predicted) = (&self.gold[gold], &self.predicted[predicted]);
                gold.free && predicted.free && fits(gold, predicted)
            });
            if let Some(predicted) = found {
                self.gold[gold].free = false;
                self.predicted[predicted].free = false;
                if let Some(kind) = kind {
                    unit.events.push(self.event(kind, Some(&self.gold[gold]), Some(&self.predicted[predicted])));
                }
            }
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
            gold_text: gold.map(|link| self.text(link.item, self.gold_entities)),
            predicted_text: predicted.map(|link| self.text(link.item, self.predicted_entities)),
        }
    }

    fn text(&self, item: &RelationItem, entities: &[EntityItem]) -> String {
        let argument = |place: Place| {
            let text = place_text(self.document, place)?;
            let entity = entities.iter().find(|entity| entity.place == place);
            Some(entity.map_or_else(|| text.into_owned(), |entity| entity_text(self.ontology, entity)))
        };
        let unresolved = || ("unresolved".to_owned(), "unresolved".to_owned());
        let (head, tail) = argument(item.head).zip(argument(item.tail)).unwrap_or_else(unresolved);
        let label = item.label.map_or("unknown type", |label| &self.ontology.relation(label).name);
        format!("{head} {label} {tail}")
    }
}
