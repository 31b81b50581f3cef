//! Candidate edits of one example.

mod entities;
mod insertions;
mod pool;
mod relations;

pub(crate) use pool::TextPool;

use rand_chacha::ChaCha8Rng;

use crate::{Edit, example::Example, targets::Targets};

/// An edit that the gold answer admits, for one way of making it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The way, by position in [`Targets::ways`].
    pub(crate) way: u32,
    /// The edit.
    pub(crate) edit: Edit,
    /// Its probability among the candidates of its way, relative to theirs.
    pub(crate) weight: f64,
}

/// Candidates under collection.
pub(crate) struct Proposals<'a> {
    example: &'a Example<'a>,
    targets: &'a Targets<'a>,
    random: ChaCha8Rng,
    candidates: Vec<Candidate>,
}

/// Every candidate whose way has a share, sorted by way. `own` are the edits that lead from gold to the
/// model's own wrong answers; `count` is the number of negatives wanted.
pub(crate) fn propose(
    example: &Example,
    targets: &Targets,
    pool: &TextPool,
    own: Vec<Edit>,
    count: usize,
    random: ChaCha8Rng,
) -> Vec<Candidate> {
    let mut proposals = Proposals { example, targets, random, candidates: Vec::new() };
    proposals.labels();
    proposals.subtypes();
    proposals.boundaries();
    proposals.dropped_entities();
    proposals.groundings(pool);
    proposals.occurrences();
    proposals.relation_labels();
    proposals.directions();
    proposals.arguments();
    proposals.dropped_relations();
    proposals.added_relations();
    proposals.insertions(count);
    for edit in own {
        let way = targets.kind_way(crate::Source::OnPolicy, edit.kind());
        proposals.push(way, &edit, 1.0);
    }
    let mut candidates = proposals.candidates;
    candidates.sort_by_key(|candidate| candidate.way);
    candidates
}

impl Proposals<'_> {
    /// Adds a candidate if there is a way for it and gold admits the edit.
    fn push(&mut self, way: Option<u32>, edit: &Edit, weight: f64) {
        self.push_all([way], edit, weight);
    }

    /// Adds one edit for several ways.
    fn push_all<const N: usize>(&mut self, ways: [Option<u32>; N], edit: &Edit, weight: f64) {
        if ways.iter().any(Option::is_some) && self.example.admits(edit) {
            let candidate = |way| Candidate { way, edit: edit.clone(), weight };
            self.candidates.extend(ways.into_iter().flatten().map(candidate));
        }
    }
}
