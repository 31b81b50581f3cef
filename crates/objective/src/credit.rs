//! What an item is worth in F1.
//!
//! F1 is `2TP / (P + G)` with P predicted and G gold items. One more item that is right with probability c changes it by
//! `(2c − F) / (P + G + 1)`, so that it pays exactly if `c > F/2`: the threshold at which an answer should stop is half
//! of the F1 that is reached (Lipton, Elkan and Narayanaswamy 2014, arXiv 1402.1892). In the same unit, a wrong item
//! costs F, and a missing one `2 − F`.

use tabpo_roles::List;

use crate::{ItemErrors, Ranges};

/// The F1 that is assumed where none is given.
pub const START_F1: f64 = 0.3;

/// The F1 that a model reaches on new documents, from 0 to 1, for entities and relations apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Credit {
    /// F1 of entities; [`START_F1`] where it is not given.
    pub entity_f1: Option<f64>,
    /// F1 of relations; [`START_F1`] where it is not given.
    pub relation_f1: Option<f64>,
}

impl Credit {
    /// The F1 of one list's items.
    pub fn f1(self, list: List) -> f64 {
        let given = match list {
            List::Entities => self.entity_f1,
            List::Relations => self.relation_f1,
        };
        given.unwrap_or(START_F1)
    }

    /// The probability θ = F/2 above which a further item of a list pays.
    pub fn threshold(self, list: List) -> f64 {
        0.5 * self.f1(list)
    }

    /// What the errors of an answer cost: `Σ_list (F·FP + (2 − F)·FN) / 2`, so that one wrong label, which is a wrong
    /// and a missing item, costs 1.
    pub fn cost(self, errors: ItemErrors) -> f64 {
        let of_list = |list| {
            let f1 = self.f1(list);
            0.5 * (f1 * f64::from(errors.wrong.of(list)) + (2.0 - f1) * f64::from(errors.missing.of(list)))
        };
        of_list(List::Entities) + of_list(List::Relations)
    }

    /// States the ranges of both.
    pub(crate) fn ranges(self, ranges: &mut Ranges) {
        for (name, f1) in [("entity_f1", self.entity_f1), ("relation_f1", self.relation_f1)] {
            let f1 = f1.unwrap_or(START_F1);
            ranges.require(name, f1, (0.0..=1.0).contains(&f1), "a number from 0 to 1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ItemCounts;

    /// The change of F1 by one more item, from the counts themselves.
    fn gain(tp: f64, predicted: f64, gold: f64, right: f64) -> f64 {
        2.0 * (tp + right) / (predicted + 1.0 + gold) - 2.0 * tp / (predicted + gold)
    }

    #[test]
    fn an_item_pays_exactly_above_the_threshold() {
        let (tp, predicted, gold) = (30.0, 70.0, 80.0);
        let credit = Credit { relation_f1: Some(2.0 * tp / (predicted + gold)), entity_f1: None };
        let threshold = credit.threshold(List::Relations);
        assert!(gain(tp, predicted, gold, threshold).abs() < 1e-12);
        assert!(gain(tp, predicted, gold, threshold + 1e-6) > 0.0);
        assert!(gain(tp, predicted, gold, threshold - 1e-6) < 0.0);
    }

    #[test]
    fn errors_cost_what_they_take_from_f1() {
        let credit = Credit { entity_f1: Some(0.6), relation_f1: Some(0.2) };
        let counts = |entities, relations| ItemCounts { entities, relations };
        let cost = |wrong, missing| credit.cost(ItemErrors { wrong, missing, gold: counts(4, 4) });
        assert!((cost(counts(1, 0), counts(0, 0)) - 0.3).abs() < 1e-12);
        assert!((cost(counts(0, 0), counts(1, 0)) - 0.7).abs() < 1e-12);
        assert!((cost(counts(1, 0), counts(1, 0)) - 1.0).abs() < 1e-12);
        assert!((cost(counts(0, 2), counts(0, 1)) - (0.2 + 0.9)).abs() < 1e-12);
        assert_eq!(cost(counts(0, 0), counts(0, 0)), 0.0);
    }
}
