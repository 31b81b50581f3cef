//! Which candidates become negatives.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tabpo_answer::Answer;

use crate::{Edit, Kind, apply, check::is_sound, example::Example, propose::Candidate, targets::Targets};

/// The power of a kind's lag against that of a way within it.
const KIND_PRIORITY: i32 = 3;

/// How often every kind and way has been used.
///
/// An example admits only some ways, so targets are met over the corpus: of the ways available, the
/// one furthest behind its target is used next. What is compared is the realised share over the wanted
/// share (with half a negative added, as in Webster's method of apportionment): that of the way within
/// its kind times a power of that of the kind. So a rare way is used wherever it is possible, and kinds
/// stay in proportion even where some of their ways hardly ever are.
pub(crate) struct Quota {
    pub(crate) kinds: [u64; Kind::ALL.len()],
    pub(crate) ways: Vec<u64>,
}

/// A chosen negative.
pub(crate) struct Choice {
    /// Its edits, each with its way; exactly one unless more were requested.
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
    pub(crate) fn new(targets: &Targets) -> Self {
        Self { kinds: [0; Kind::ALL.len()], ways: vec![0; targets.ways.len()] }
    }

    /// The lower, the further a way is behind its target.
    fn lag(&self, targets: &Targets, way: u32) -> f64 {
        let target = &targets.ways[way as usize];
        let of_kind = self.kinds[target.kind.index()] as f64;
        let kind = (of_kind + 0.5) / targets.kinds[target.kind.index()];
        let within = (self.ways[way as usize] as f64 + 0.5) / (target.share * (of_kind + 1.0));
        kind.powi(KIND_PRIORITY) * within
    }

    fn count(&mut self, targets: &Targets, way: u32) {
        self.kinds[targets.ways[way as usize].kind.index()] += 1;
        self.ways[way as usize] += 1;
    }
}

/// Picks up to `count` checked negatives of `edits` edits each, no two with the same edit or the
/// same answer.
pub(crate) fn choose(
    example: &Example,
    targets: &Targets,
    quota: &mut Quota,
    candidates: Vec<Candidate>,
    count: usize,
    edits: usize,
    random: &mut ChaCha8Rng,
) -> Vec<Choice> {
    let mut groups = group(candidates);
    let mut chosen: Vec<Choice> = Vec::with_capacity(count);
    while chosen.len() < count {
        let Some(candidate) = draw(&mut groups, targets, quota, &chosen, random) else { break };
        if chosen.iter().any(|choice| choice.edits.iter().any(|(_, edit)| *edit == candidate.edit)) {
            continue;
        }
        let mut made = vec![(candidate.way, candidate.edit)];
        while made.len() < edits {
            let independent = |edit: &Edit| made.iter().all(|(_, other)| edit.is_independent_of(other, example.gold));
            let mut fitting: Vec<Group> = groups
                .iter()
                .map(|group| Group {
                    way: group.way,
                    candidates: group.candidates.iter().filter(|other| independent(&other.edit)).cloned().collect(),
                })
                .filter(|group| !group.candidates.is_empty())
                .collect();
            let Some(further) = draw(&mut fitting, targets, quota, &chosen, random) else { break };
            made.push((further.way, further.edit));
        }
        let plain: Vec<Edit> = made.iter().map(|(_, edit)| edit.clone()).collect();
        let negative = apply(&plain, example.gold, &example.unit);
        let writable = targets.can_write(&negative, &example.unit);
        if !writable || !is_sound(example, &plain, &negative) || chosen.iter().any(|choice| choice.negative == negative)
        {
            continue;
        }
        for &(way, _) in &made {
            quota.count(targets, way);
        }
        chosen.push(Choice { edits: made, negative });
    }
    chosen
}

/// Groups candidates by way; they are sorted by it.
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

/// Draws a candidate of the way that is furthest behind, at random by weight. Items that another
/// negative of the example already edits are less likely.
fn draw(
    groups: &mut Vec<Group>,
    targets: &Targets,
    quota: &Quota,
    chosen: &[Choice],
    random: &mut ChaCha8Rng,
) -> Option<Candidate> {
    let lagging = (0..groups.len())
        .min_by(|&a, &b| quota.lag(targets, groups[a].way).total_cmp(&quota.lag(targets, groups[b].way)))?;
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
