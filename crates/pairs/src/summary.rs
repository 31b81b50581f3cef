//! What was built, compared with the targets.

use serde::{Deserialize, Serialize};

use crate::{Kind, Mode, Source, choose::Quota, targets::Targets};

/// Counts of a build, compared with their targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildSummary {
    /// Examples seen.
    pub examples: u64,
    /// Examples with fewer negatives than requested.
    pub short: u64,
    /// Examples without pairs, because their gold answer cannot be written in the marked form.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unmarkable: u64,
    /// Number of pairs.
    pub pairs: u64,
    /// Kinds of edits. A kind that no source can produce is left out, and the others take over its share.
    pub kinds: Vec<Share>,
    /// Total variation distance between the target and realised shares of the kinds, in [0, 1].
    pub kind_distance: f64,
    /// Patterns and modes, within their kinds.
    pub ways: Vec<WayShare>,
}

/// A target share and the realised one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The kind.
    pub kind: Kind,
    /// The target share, in [0, 1].
    pub wanted: f64,
    /// The realised share, in [0, 1].
    pub realised: f64,
    /// Edits.
    pub count: u64,
}

/// The share of a pattern or mode within its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WayShare {
    /// The kind.
    pub kind: Kind,
    /// Where the edits come from.
    pub source: Source,
    /// The pattern's id, or the mode in words (`Method > Generic`).
    pub name: String,
    /// The target share within the kind, in [0, 1].
    pub wanted: f64,
    /// The realised share within the kind, in [0, 1].
    pub realised: f64,
    /// Edits.
    pub count: u64,
}

impl BuildSummary {
    pub(crate) fn new(targets: &Targets, quota: &Quota, examples: u64, short: u64, pairs: u64) -> Self {
        let total: u64 = quota.kinds.iter().sum();
        let ratio = |count: u64, of: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        let kinds: Vec<Share> = Kind::ALL
            .into_iter()
            .filter(|&kind| targets.has(kind))
            .map(|kind| {
                let count = quota.kinds[kind.index()];
                Share { kind, wanted: targets.kinds[kind.index()], realised: ratio(count, total), count }
            })
            .collect();
        let kind_distance = kinds.iter().map(|share| (share.wanted - share.realised).abs()).sum::<f64>() / 2.0;
        let mut ways: Vec<WayShare> = Vec::new();
        for (way, &count) in targets.ways.iter().zip(&quota.ways) {
            let name = match (way.pattern, way.mode) {
                (Some(pattern), _) => targets.patterns.patterns[pattern as usize].id.clone(),
                (None, Some(mode)) => mode_name(targets, mode),
                (None, None) => "any".to_owned(),
            };
            let realised = ratio(count, quota.kinds[way.kind.index()]);
            // All changes of one pattern are one entry.
            match ways.last_mut().filter(|last| way.pattern.is_some() && last.name == name && last.kind == way.kind) {
                Some(last) => {
                    last.wanted += way.share;
                    last.realised += realised;
                    last.count += count;
                }
                None => {
                    ways.push(WayShare {
                        kind: way.kind,
                        source: way.source,
                        name,
                        wanted: way.share,
                        realised,
                        count,
                    });
                }
            }
        }
        Self { examples, short, unmarkable: 0, pairs, kinds, kind_distance, ways }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn mode_name(targets: &Targets, mode: Mode) -> String {
    let ontology = targets.ontology;
    let entity = |label| ontology.entity(label).name.as_str();
    let relation = |label| ontology.relation(label).name.as_str();
    match mode {
        Mode::Label(from, to) => format!("{} > {}", entity(from), entity(to)),
        Mode::Subtype(label, from, to) => {
            let name = |subtype| ontology.subtype(label, subtype).name.as_str();
            format!("{0}/{1} > {0}/{2}", entity(label), name(from), name(to))
        }
        Mode::RelationLabel(from, to) => format!("{} > {}", relation(from), relation(to)),
        Mode::Boundary(label, shift) => format!("{} {}", entity(label), shift.name()),
        Mode::DropEntity(label) | Mode::AddEntity(label) | Mode::Occurrence(label) => entity(label).to_owned(),
        Mode::Direction(label) | Mode::Argument(label) | Mode::DropRelation(label) | Mode::AddRelation(label) => {
            relation(label).to_owned()
        }
    }
}
