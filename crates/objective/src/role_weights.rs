//! Weights by token role.

use serde::{Deserialize, Serialize};
use tabpo_roles::Role;

/// One weight of at least 0 for each token role.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RoleWeights {
    /// Weight of [`Role::Scaffold`].
    pub scaffold: f64,
    /// Weight of [`Role::EntityLabel`].
    pub entity_label: f64,
    /// Weight of [`Role::Subtype`].
    pub subtype: f64,
    /// Weight of [`Role::RelationLabel`].
    pub relation_label: f64,
    /// Weight of [`Role::Link`].
    pub link: f64,
    /// Weight of [`Role::Span`].
    pub span: f64,
    /// Weight of [`Role::Occurrence`].
    pub occurrence: f64,
    /// Weight of [`Role::End`].
    pub end: f64,
}

impl RoleWeights {
    /// The same weight for every role.
    pub const fn uniform(weight: f64) -> Self {
        Self {
            scaffold: weight,
            entity_label: weight,
            subtype: weight,
            relation_label: weight,
            link: weight,
            span: weight,
            occurrence: weight,
            end: weight,
        }
    }

    /// The weight of a role.
    pub fn of(&self, role: Role) -> f64 {
        match role {
            Role::Scaffold => self.scaffold,
            Role::EntityLabel => self.entity_label,
            Role::Subtype => self.subtype,
            Role::RelationLabel => self.relation_label,
            Role::Link => self.link,
            Role::Span => self.span,
            Role::Occurrence => self.occurrence,
            Role::End => self.end,
        }
    }

    /// A weight that is out of range if there is one: the least acceptable of all weights.
    pub(crate) fn least_acceptable(&self) -> f64 {
        let weights = Role::ALL.iter().map(|role| self.of(*role));
        let distance = |weight: &f64| if *weight < 0.0 { f64::INFINITY } else { *weight };
        // A total order puts NaN last.
        weights.max_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0.0)
    }
}
