//! Candidate edits of one unit, with the ways of making them.

mod entities;
mod insertions;
mod pool;
mod relations;

pub(crate) use pool::TextPool;

use rand_chacha::ChaCha8Rng;

use crate::{Edit, plan::Plan, scene::Scene};

/// An edit that the gold answer of a unit admits, for one way of making it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The way, by position in [`Plan::ways`].
    pub(crate) way: u32,
    /// The edit.
    pub(crate) edit: Edit,
    /// How likely it is drawn among the candidates of its way, relative to them.
    pub(crate) weight: f64,
}

/// The candidates of a unit while they are collected.
pub(crate) struct Proposals<'a> {
    scene: &'a Scene<'a>,
    plan: &'a Plan<'a>,
    random: ChaCha8Rng,
    candidates: Vec<Candidate>,
}

/// Every candidate of a unit that the plan has a share for, sorted by way. `own` are the edits that
/// lead from gold to the model's own wrong answers, `count` is how many negatives are wanted.
pub(crate) fn propose(
    scene: &Scene,
    plan: &Plan,
    pool: &TextPool,
    own: Vec<Edit>,
    count: usize,
    random: ChaCha8Rng,
) -> Vec<Candidate> {
    let mut proposals = Proposals { scene, plan, random, candidates: Vec::new() };
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
        let way = plan.kind_way(crate::Source::OnPolicy, edit.kind());
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
        if ways.iter().any(Option::is_some) && self.scene.admits(edit) {
            let candidate = |way| Candidate { way, edit: edit.clone(), weight };
            self.candidates.extend(ways.into_iter().flatten().map(candidate));
        }
    }
}
