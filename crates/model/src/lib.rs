#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod adapter;
mod chat;
mod config;
mod folder;
mod gguf;
mod grammar;
mod mapped;
mod nf4;
mod ollama;
mod projection;
mod stored;
mod tokenizer;

pub use adapter::{AdapterFolder, LoraConfig, find_base, is_adapter_folder, write_adapter};
pub use chat::{ChatError, ChatTemplate, EncodedExchange, Exchange, Message};
pub use config::{Architecture, ModelConfig, RopeScaling};
pub use folder::{
    FolderError, GenerationTokens, ModelFolder, Nf4Options, SaveOptions, check_model_folder, config_from_json,
    config_to_json, save_model, save_model_like, save_nf4, take_companions, write_atomically, write_safetensors,
};
pub use gguf::{AdapterModule, GgufHead, GgufSource, gguf_files, is_gguf_file, write_gguf, write_gguf_adapter};
pub use grammar::{Constraint, GrammarCompiler, GrammarError, Guide, NextStage, TokenMask};
pub use nf4::{
    LEVELS as NF4_LEVELS, NestedScales, Nf4Matrix, NotFiniteAt, SCALES_PER_GROUP, Scales, WEIGHTS_PER_SCALE,
};
pub use ollama::Modelfile;
pub use projection::{INPUT_GROUPS, Projection};
pub use stored::{BlockMatrix, SharedBytes, StoredMatrix, StoredType, StoredValues, TensorBytes, WrittenTensor};
pub use tabpo_gguf::FileType;
pub use tokenizer::{BpeOptions, Encoding, SpecialTokens, Tokenizer};
