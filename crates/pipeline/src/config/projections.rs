//! The projections of a block by the names of PEFT's `target_modules`.

use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serializer, de};
use tabpo_model::Projection;

static NAMES: LazyLock<[&'static str; Projection::ALL.len()]> =
    LazyLock::new(|| Projection::ALL.map(Projection::module));

pub(super) fn serialize<S: Serializer>(projections: &[Projection], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(projections.iter().map(|projection| projection.module()))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Projection>, D::Error> {
    let names: Vec<String> = Vec::deserialize(deserializer)?;
    let projection = |name: &String| {
        let found = Projection::ALL.into_iter().find(|projection| projection.module() == name);
        found.ok_or_else(|| de::Error::unknown_variant(name, &*NAMES))
    };
    names.iter().map(projection).collect()
}
