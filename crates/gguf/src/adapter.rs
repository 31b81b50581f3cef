//! The metadata of a low-rank adapter, which llama.cpp applies to a model with `--lora`.

use crate::architecture::Architecture;
use crate::error::MetadataError;
use crate::metadata::Metadata;

const GENERAL_TYPE: &str = "general.type";
const ADAPTER: &str = "adapter";
const ADAPTER_TYPE: &str = "adapter.type";
const LORA: &str = "lora";
const ALPHA: &str = "adapter.lora.alpha";

/// The name of the A matrix, `[rank, inputs]`, of the projection with this GGUF name.
pub fn a_name(projection: &str) -> String {
    format!("{projection}.lora_a")
}

/// The name of the B matrix, `[outputs, rank]`, of the projection with this GGUF name.
pub fn b_name(projection: &str) -> String {
    format!("{projection}.lora_b")
}

/// What a file says about the adapter in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdapterMetadata {
    /// The architecture of the model that the adapter belongs to.
    pub architecture: Architecture,
    /// The numerator of the scale `alpha / rank` of each projection. llama.cpp takes 0 for a scale of 1.
    pub alpha: f32,
}

impl AdapterMetadata {
    /// Whether a file says that it holds an adapter and not a model.
    pub fn is_in(metadata: &Metadata) -> bool {
        matches!(metadata.optional::<&str>(GENERAL_TYPE), Ok(Some(ADAPTER)))
    }

    /// Reads the metadata of an adapter. Fails for models and for other kinds of adapters.
    pub fn read(metadata: &Metadata) -> Result<Self, MetadataError> {
        for (key, expected) in [(GENERAL_TYPE, ADAPTER), (ADAPTER_TYPE, LORA)] {
            let found: &str = metadata.required(key)?;
            if found != expected {
                let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
                return Err(MetadataError::Unexpected { key: key.to_owned(), found, expected });
            }
        }
        Ok(Self { architecture: Architecture::read(metadata)?, alpha: metadata.required(ALPHA)? })
    }

    /// Adds the keys that llama.cpp reads.
    pub fn write(&self, metadata: &mut Metadata) {
        metadata.insert(GENERAL_TYPE, ADAPTER);
        self.architecture.write(metadata);
        metadata.insert(ADAPTER_TYPE, LORA);
        metadata.insert(ALPHA, self.alpha);
    }
}
