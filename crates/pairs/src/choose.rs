//! Which candidates become negatives.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tabpo_answer::Answer;

use crate::{Edit, Kind, apply, check::prove, plan::Plan, propose::Candidate, scene::Scene};

/// How much more the lag of a kind counts than that of a way within it.
const KIND_PRIORITY: i32 = 3;

/// How often every kind and way was used so far.
///
/// A unit can host only some ways, so targets are met over the corpus: of the ways at hand, the one
/// that lags furthest behind is used next. The lag is the share realised so far over the share
/// wanted (with half a negative added, as in Webster's method of apportionment), of the way within
/// its kind times a power of that of the kind: a rare way is taken when it can be had, and kinds
/// stay in proportion even where some of their ways can hardly be had.
pub(crate) struct Quota {
    pub(crate) kinds: [u64; Kind::ALL.len()],
    pub(crate) ways: Vec<u64>,
}

/// A chosen negative.
pub(crate) struct Choice {
    /// Its edits with the way of each; exactly one unless more are asked for.
    pub(crate) edits: Vec<(u32, Edit)>,
    /// The answer.
    pub(crate) negative: Answer,
}

/// The candidates of one way.
struct Group {
    way: u32,
    candidates: Vec<Candidate>,
}

impl Quota {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { kinds: [0; Kind::ALL.len()], ways: vec![0; plan.ways.len()] }
    }

    /// Below 1 for a way that is behind its target, above 1 for one ahead of it, up to a factor
    /// that is the same for all ways.
    fn lag(&self, plan: &Plan, way: u32) -> f64 {
        let target = &plan.ways[way as usize];
        let of_kind = self.kinds[target.kind.index()] as f64;
        let kind = (of_kind + 0.5) / plan.kinds[target.kind.index()];
        let within = (self.ways[way as usize] as f64 + 0.5) / (target.share * (of_kind + 1.0));
        kind.powi(KIND_PRIORITY) * within
    }

    fn count(&mut self, plan: &Plan, way: u32) {
        self.kinds[plan.ways[way as usize].kind.index()] += 1;
        self.ways[way as usize] += 1;
    }
}

/// Picks up to `count` proven negatives of `edits` edits each, no two with the same edit or the
/// same answer.
pub(crate) fn choose(
    scene: &Scene,
    plan: &Plan,
    quota: &mut Quota,
    candidates: Vec<Candidate>,
    count: usize,
    edits: usize,
    random: &mut ChaCha8Rng,
) -> Vec<Choice> {
    let mut groups = group(candidates);
    let mut chosen: Vec<Choice> = Vec::with_capacity(count);
    while chosen.len() < count {
        let Some(candidate) = draw(&mut groups, plan, quota, &chosen, random) else { break };
        if chosen.iter().any(|choice| choice.edits.iter().any(|(_, edit)| *edit == candidate.edit)) {
            continue;
        }
        let mut made = vec![(candidate.way, candidate.edit)];
        while made.len() < edits {
            let independent = |edit: &Edit| made.iter().all(|(_, other)| edit.is_independent_of(other, scene.gold));
            let mut fitting: Vec<Group> = groups
                .iter()
                .map(|group| Group {
                    way: group.way,
                    candidates: group.candidates.iter().filter(|other| independent(&other.edit)).cloned().collect(),
                })
                .filter(|group| !group.candidates.is_empty())
                .collect();
            let Some(further) = draw(&mut fitting, plan, quota, &chosen, random) else { break };
            made.push((further.way, further.edit));
        }
        let plain: Vec<Edit> = made.iter().map(|(_, edit)| edit.clone()).collect();
        let negative = apply(&plain, scene.gold, &scene.unit);
        if prove(scene, &plain, &negative).is_err() || chosen.iter().any(|choice| choice.negative == negative) {
            continue;
        }
        for &(way, _) in &made {
            quota.count(plan, way);
        }
        chosen.push(Choice { edits: made, negative });
    }
    chosen
}

/// Candidates by way; they come sorted.
fn group(candidates: Vec<Candidate>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for candidate in candidates {
        match groups.last_mut().filter(|group| group.way == candidate.way) {
            Some(group) => group.candidates.push(candidate),
            None => groups.push(Group { way: candidate.way, candidates: vec![candidate] }),
        }
    }
    groups
}

/// Takes a candidate of the way that lags most, at random by weight. Items that other negatives of
/// the unit edit already are less likely.
fn draw(
    groups: &mut Vec<Group>,
    plan: &Plan,
    quota: &Quota,
    chosen: &[Choice],
    random: &mut ChaCha8Rng,
) -> Option<Candidate> {
    let lagging =
        (0..groups.len()).min_by(|&a, &b| quota.lag(plan, groups[a].way).total_cmp(&quota.lag(plan, groups[b].way)))?;
    let candidates = &mut groups[lagging].candidates;
    let weight = |candidate: &Candidate| {
        let item = (candidate.edit.entity(), candidate.edit.relation());
        let used = |choice: &&Choice| choice.edits.iter().any(|(_, edit)| (edit.entity(), edit.relation()) == item);
        let times = if item == (None, None) { 0 } else { chosen.iter().filter(used).count() };
        candidate.weight / (1 + 3 * times) as f64
    };
    let total: f64 = candidates.iter().map(weight).sum();
    let mut left = random.random::<f64>() * total;
    let drawn = candidates.iter().position(|candidate| {
        left -= weight(candidate);
        left < 0.0
    });
    let candidate = candidates.remove(drawn.unwrap_or(candidates.len() - 1));
    if candidates.is_empty() {
        groups.remove(lagging);
    }
    Some(candidate)
}
