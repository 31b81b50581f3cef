//! The formulas of the catalogue. Each is a struct of its hyper-parameters, so that an objective of
//! your own can be put together from them: `Dpo { beta: 0.1 }.evaluate(pair)` adds the terms of DPO.

use std::sync::LazyLock;

use crate::entry::Entry;

pub mod anchored;
pub mod dynamic_oracle;
pub mod f_credit;
pub mod item_credit;
pub mod length_normalised;
pub mod likelihood;
pub mod minimum_risk;
pub mod pointwise;
pub mod reweighted;
pub mod sequence;
pub mod tab_po;
pub mod tab_po_published;
pub mod token;
pub mod token_kl;

/// All objectives, those of one family together; the first is the default.
pub fn catalogue() -> &'static [Entry] {
    static CATALOGUE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
        [
            tab_po::entries(),
            tab_po_published::entries(),
            likelihood::entries(),
            reweighted::entries(),
            f_credit::entries(),
            minimum_risk::entries(),
            dynamic_oracle::entries(),
            item_credit::entries(),
            sequence::entries(),
            anchored::entries(),
            pointwise::entries(),
            length_normalised::entries(),
            token::entries(),
            token_kl::entries(),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
    &CATALOGUE
}
