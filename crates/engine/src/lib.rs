//! A Llama/Qwen decoder with explicit forward and backward passes, low-rank adapters and generation.

mod adapter;
mod backward;
mod batch;
mod bench;
mod block;
mod cache;
mod chat;
mod compute;
mod config;
mod decode;
mod folder;
mod forward;
mod generate;
mod gradients;
mod head;
mod induction;
mod initialise;
mod lora;
mod model;
mod ops;
mod optimiser;
mod real;
mod tokenizer;
mod view;
mod weights;
mod workspace;

pub use adapter::{SavedModules, find_base, is_adapter_folder};
pub use backward::{Seed, backward};
pub use batch::{Batch, Segment, Target};
pub use bench::{PeakBench, StepBench, StepShape, StepTime};
pub use cache::KvCache;
pub use chat::{ChatError, ChatTemplate, EncodedExchange, Exchange, Message};
pub use compute::Compute;
pub use config::{Architecture, ModelConfig, RopeScaling};
pub use decode::Decoder;
pub use folder::{
    ExportError, FolderError, GenerationTokens, LogitDifference, SaveOptions, check_model_folder, config_from_json,
    config_to_json, verify_export, write_atomically, write_json, write_logits,
};
pub use forward::{ForwardOptions, Recompute, ReferenceHidden, forward, forward_with_reference, logits, target_hidden};
pub use generate::{
    Completion, Constraint, FinishReason, GenerateError, GenerateOptions, GrammarCompiler, Guide, NextStage, Request,
    Sampling, generate, generate_until,
};
pub use gradients::Gradients;
pub use lora::{INPUT_GROUPS, Lora, LoraConfig, LoraGroup, LoraMember};
pub use model::{Layer, Linear, Model, Projection, TensorRef};
pub use optimiser::{AdamW, AdamWConfig, Moments};
pub use real::Real;
pub use tokenizer::{BpeOptions, Encoding, SpecialTokens, Tokenizer};
pub use weights::{Matrix, SharedBytes, StoredType};
pub use workspace::Workspace;
