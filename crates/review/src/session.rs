//! A review under way.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tabpo_corpus::jsonl;

use crate::{
    Confidence, Material, Refusal, ReviewError, UnitState,
    corrections::corrections,
    curated,
    journal::{Entry, Found, Journal},
    material::Case,
    patterns::Proposals,
};

/// A review under way: what was predicted and what has been decided. Its files are in one folder: `journal.jsonl` with every
/// decision, `curated.jsonl` with the confirmed texts, and `patterns.toml` with proposed ambiguity patterns.
pub struct Session {
    pub(crate) material: Material,
    states: Vec<UnitState>,
    /// How often each text was changed.
    revisions: Vec<u64>,
    /// What can be undone, oldest first.
    history: Vec<Change>,
    journal: Journal,
    decisions: u64,
    /// Damaged lines of the journal.
    damaged: usize,
    folder: PathBuf,
    /// The lines of each document in the curated file.
    curated: Vec<String>,
}

/// A decision that can be taken back.
struct Change {
    n: u64,
    unit: usize,
    before: UnitState,
}

/// The order in which texts are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The least certain decisions first.
    #[default]
    Confidence,
    /// As in the documents.
    Documents,
}

/// How far a review is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// All texts.
    pub texts: usize,
    /// Those that are confirmed.
    pub confirmed: usize,
    /// Corrections in them.
    pub corrections: usize,
    /// Patterns that these propose.
    pub patterns: usize,
    /// Decisions in the journal that were damaged and are left out.
    pub damaged: usize,
}

impl Session {
    /// Begins or resumes a review in a folder, which is created if it does not exist.
    pub fn open(folder: &Path, material: Material) -> Result<Self, ReviewError> {
        let failed = |source| ReviewError::Folder { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let (journal, Found { entries, damaged }) = Journal::open(&folder.join("journal.jsonl"), &material.identity())?;
        let count = material.cases.len();
        let mut session = Self {
            states: material.cases.iter().map(|case| case.predicted.clone()).collect(),
            revisions: vec![0; count],
            history: Vec::new(),
            journal,
            decisions: 0,
            damaged,
            folder: folder.to_owned(),
            curated: vec![String::new(); material.documents.len()],
            material,
        };
        for entry in entries {
            session.replay(entry);
        }
        for document in 0..session.curated.len() {
            session.renew(document)?;
        }
        session.write_files().map_err(failed)?;
        Ok(session)
    }

    /// Takes a decision that was read from the journal.
    fn replay(&mut self, entry: Entry) {
        self.decisions = self.decisions.max(entry.n);
        let place = |case: &Case| {
            (self.material.documents[case.document].key.as_str(), case.sentence) == (entry.doc_key.as_str(), entry.sent)
        };
        let unit = self.material.cases.iter().position(place);
        let Some(unit) = unit.filter(|&unit| self.check(unit, &entry.state).is_ok()) else {
            self.damaged += 1;
            return;
        };
        self.take(unit, entry.n, entry.undoes, entry.state);
    }

    /// Replaces the state of a text.
    fn take(&mut self, unit: usize, n: u64, undoes: Option<u64>, state: UnitState) {
        let before = std::mem::replace(&mut self.states[unit], state);
        self.revisions[unit] += 1;
        match undoes {
            None => self.history.push(Change { n, unit, before }),
            Some(undone) => self.history.retain(|change| change.n != undone),
        }
    }

    fn check(&self, unit: usize, state: &UnitState) -> Result<(), String> {
        let case = &self.material.cases[unit];
        let tokens = case.unit(&self.material.documents).span().len() as u32;
        state.annotation(&self.material.ontology, tokens, &case.predicted).map(drop)
    }

    /// Replaces the state of a text by another one that was made from `revision` of it. When this returns, the decision is
    /// on disk.
    pub fn decide(&mut self, unit: usize, revision: u64, mut state: UnitState) -> Result<(), Refusal> {
        let current = *self.revisions.get(unit).ok_or(Refusal::NoUnit(unit))?;
        if current != revision {
            return Err(Refusal::Outdated);
        }
        state.settle();
        self.check(unit, &state).map_err(Refusal::Invalid)?;
        if state == self.states[unit] {
            return Ok(());
        }
        self.save(unit, None, state)
    }

    /// Takes the last decision back that was not taken back yet. Returns the position of its text.
    pub fn undo(&mut self) -> Result<usize, Refusal> {
        let Some(Change { n, unit, before }) = self.history.last() else { return Err(Refusal::NothingToUndo) };
        let (n, unit, before) = (*n, *unit, before.clone());
        self.save(unit, Some(n), before)?;
        Ok(unit)
    }

    /// Writes a decision to the journal, takes it, and writes what is made of all decisions.
    fn save(&mut self, unit: usize, undoes: Option<u64>, state: UnitState) -> Result<(), Refusal> {
        let case = &self.material.cases[unit];
        let document = case.document;
        let entry = Entry {
            n: self.decisions + 1,
            time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            doc_key: self.material.documents[document].key.clone(),
            sent: case.sentence,
            undoes,
            state,
        };
        self.journal.write(&entry).map_err(Refusal::NotSaved)?;
        self.decisions = entry.n;
        let matters = entry.state.confirmed || self.states[unit].confirmed;
        self.take(unit, entry.n, undoes, entry.state);
        if matters {
            self.renew(document).map_err(|error| Refusal::NotWritten(error.to_string()))?;
            self.write_files().map_err(|error| Refusal::NotWritten(error.to_string()))?;
        }
        Ok(())
    }

    /// Makes the curated lines of a document anew.
    fn renew(&mut self, document: usize) -> Result<(), ReviewError> {
        let Material { ontology, documents, cases, .. } = &self.material;
        let of_document = || cases.iter().zip(&self.states).filter(|(case, _)| case.document == document);
        let confirmed = of_document().filter(|(_, state)| state.confirmed).filter_map(|(case, state)| {
            let unit = case.unit(documents);
            // A state is checked before it is taken.
            let annotation = state.annotation(ontology, unit.span().len() as u32, &case.predicted).ok()?;
            Some((unit, annotation))
        });
        let confirmed: Vec<_> = confirmed.collect();
        let all = confirmed.len() == of_document().count();
        let made = if confirmed.is_empty() {
            Vec::new()
        } else {
            curated::documents(&documents[document], &confirmed, all, ontology)?
        };
        self.curated[document] = made.iter().map(|made| jsonl::to_line(made, ontology) + "\n").collect();
        Ok(())
    }

    fn write_files(&self) -> std::io::Result<()> {
        tabpo_files::replace(&self.curated(), |out| {
            self.curated.iter().try_for_each(|lines| out.write_all(lines.as_bytes()))
        })?;
        tabpo_files::replace(&self.patterns(), |out| out.write_all(self.proposals().to_toml().as_bytes()))
    }

    /// The patterns that the corrections in confirmed texts propose.
    pub(crate) fn proposals(&self) -> Proposals {
        let mut proposals = Proposals::default();
        let Material { documents, cases, ontology, .. } = &self.material;
        for (case, state) in cases.iter().zip(&self.states).filter(|(_, state)| state.confirmed) {
            proposals.add(&case.unit(documents), &corrections(&case.predicted, state, ontology));
        }
        proposals
    }

    /// What is reviewed.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// Says how sure the model was of each prediction, in the order of [`Material::predicted`].
    pub fn set_confidence(&mut self, confidence: impl IntoIterator<Item = Option<Confidence>>) {
        self.material.set_confidence(confidence);
    }

    /// The file of curated documents.
    pub fn curated(&self) -> PathBuf {
        self.folder.join("curated.jsonl")
    }

    /// The file of proposed patterns.
    pub fn patterns(&self) -> PathBuf {
        self.folder.join("patterns.toml")
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there are no texts, which [`Material::new`] refuses.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// What has been decided about a text.
    pub fn state(&self, unit: usize) -> &UnitState {
        &self.states[unit]
    }

    /// How often a text was changed.
    pub fn revision(&self, unit: usize) -> u64 {
        self.revisions[unit]
    }

    /// Whether there is something to undo.
    pub(crate) fn can_undo(&self) -> bool {
        !self.history.is_empty()
    }

    /// Whether the model's confidence is known for any text.
    pub fn has_confidence(&self) -> bool {
        self.material.cases.iter().any(|case| case.confidence.is_some())
    }

    /// The texts in an order. Without a known confidence, a text with something in the answer that has no place comes first,
    /// then all as in the documents.
    pub fn order(&self, order: Order) -> Vec<usize> {
        let mut units: Vec<usize> = (0..self.len()).collect();
        if order == Order::Confidence {
            let key = |unit: &usize| {
                let case = &self.material.cases[*unit];
                let least = case.confidence.as_ref().map_or(1.0, Confidence::least);
                if case.lost.is_empty() { least } else { 0.0 }
            };
            units.sort_by(|a, b| key(a).total_cmp(&key(b)));
        }
        units
    }

    /// How far the review is.
    pub fn summary(&self) -> Summary {
        let proposals = self.proposals();
        Summary {
            texts: self.len(),
            confirmed: self.states.iter().filter(|state| state.confirmed).count(),
            corrections: proposals.corrections(),
            patterns: proposals.len(),
            damaged: self.damaged,
        }
    }
}
