//! Models that are split into several files.

use std::path::{Path, PathBuf};

use crate::error::SplitProblem;
use crate::metadata::Metadata;

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSOR_COUNT: &str = "split.tensors.count";

/// What a file says about being part of a model.
pub(crate) struct Split {
    /// The number of parts.
    pub(crate) count: u64,
    /// The number of tensors in all parts.
    pub(crate) tensor_count: Option<u64>,
}

impl Split {
    /// What the metadata says, or `None` if the file is a whole model.
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        let integer = |key| metadata.optional::<u64>(key).ok().flatten();
        let count = integer(COUNT).filter(|&count| count > 1)?;
        Some(Self { count, tensor_count: integer(TENSOR_COUNT) })
    }

    /// The path of part `index`, from 0, derived from the path of any part.
    pub(crate) fn part(&self, path: &Path, index: u64) -> Result<PathBuf, SplitProblem> {
        let name = path.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| stem(name, self.count)).ok_or(SplitProblem::Name { count: self.count })?;
        Ok(path.with_file_name(format!("{stem}-{:05}-of-{:05}.gguf", index + 1, self.count)))
    }

    /// Checks that a part is part `index`, from 0, of this model.
    pub(crate) fn check_part(&self, metadata: &Metadata, index: u64) -> Result<(), SplitProblem> {
        for (key, expected) in [(COUNT, self.count), (NUMBER, index)] {
            expect(key, metadata.optional(key).ok().flatten(), expected)?;
        }
        Ok(())
    }

    /// Checks that all parts together have as many tensors as the first one declares.
    pub(crate) fn check_tensor_count(&self, found: u64) -> Result<(), SplitProblem> {
        if self.tensor_count.is_some() { expect(TENSOR_COUNT, self.tensor_count, found) } else { Ok(()) }
    }
}

fn expect(key: &'static str, found: Option<u64>, expected: u64) -> Result<(), SplitProblem> {
    if found == Some(expected) { Ok(()) } else { Err(SplitProblem::Key { key, found, expected }) }
}

/// A file name without the number of its part.
fn stem(name: &str, count: u64) -> Option<&str> {
    // The numbers have five digits or more.
    let rest = name.strip_suffix(&format!("-of-{count:05}.gguf"))?;
    let (stem, number) = rest.rsplit_once('-')?;
    let is_number = number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && (1..=count).contains(&number.parse().ok()?)).then_some(stem)
}
