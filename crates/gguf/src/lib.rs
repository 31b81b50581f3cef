#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! [`Gguf`] maps and checks files, [`Tensor`] is one tensor of them, [`Writer`] writes new ones.
//! [`Metadata`] holds the typed key–value pairs; [`Hyperparameters`] and [`TokenizerMetadata`] are
//! its parts that describe a model, [`AdapterMetadata`] those of an adapter. [`blocks`] converts between `f32` and ggml's block formats,
//! [`FileType`] chooses a format for each tensor, and [`names`] translates between GGUF and Hugging
//! Face: tensor names and the row order of query and key projections.

#![deny(unsafe_code)]

pub mod adapter;
mod architecture;
pub mod blocks;
mod cursor;
mod error;
mod file_type;
mod layout;
mod metadata;
pub mod names;
mod parse;
mod reader;
mod split;
mod storage;
mod tensor_type;
mod tokenizer;
mod value;
mod writer;

pub use adapter::AdapterMetadata;
pub use architecture::{Architecture, Hyperparameters, Llama3Scaling, RopeScaling, YarnScaling};
pub use error::{Malformed, MetadataError, Problem, ReadError, SplitProblem};
pub use file_type::FileType;
pub use metadata::{FromValue, Metadata};
pub use reader::{Gguf, Tensor};
pub use tensor_type::TensorType;
pub use tokenizer::{SpecialTokens, TokenType, TokenizerMetadata, TokenizerModel};
pub use value::{Array, Value, ValueType};
pub use writer::{TensorDeclaration, WriteError, Writer};
