//! Every objective by name.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::{Needs, Objective, ObjectiveError};
use crate::{anchored, length_normalised, likelihood, pointwise, sequence, tab_po, tab_po_published, token, token_kl};

/// One objective of the catalogue.
#[derive(Debug)]
pub struct Entry {
    /// The name under which a configuration chooses it.
    pub name: &'static str,
    /// The loss of one pair in a line (notation of the crate's documentation).
    pub summary: &'static str,
    /// The paper or the public code that defines it.
    pub source: &'static str,
    pub(crate) build: fn(&Entry, &Map<String, Value>) -> Result<Objective, ObjectiveError>,
}

impl Entry {
    /// The objective with its default hyper-parameters.
    pub fn objective(&self) -> Objective {
        (self.build)(self, &Map::new()).expect("the defaults of the catalogue are in range")
    }

    /// Default hyper-parameters.
    pub fn defaults(&self) -> Map<String, Value> {
        self.objective().parameters().clone()
    }

    /// What it needs with its default hyper-parameters.
    pub fn needs(&self) -> Needs {
        self.objective().needs()
    }
}

/// All objectives, those of one family together; the first is the default.
pub fn catalogue() -> &'static [Entry] {
    static CATALOGUE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
        [
            tab_po::entries(),
            tab_po_published::entries(),
            likelihood::entries(),
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
