#![doc = include_str!("../README.md")]

mod backward;
mod batch;
mod bench;
mod block;
mod cache;
mod compute;
mod decode;
mod embedding;
mod files;
mod fork;
mod forward;
mod generate;
mod gguf;
mod gradients;
mod head;
mod initialise;
mod linear;
mod lora;
mod model;
mod nf4;
mod ops;
mod optimiser;
mod options;
mod pass;
mod pass_layout;
mod prompts;
mod real;
mod sample;
mod schedule;
mod scratch;
mod verify;
mod view;
mod weights;
mod worker;
mod workspace;

pub use backward::backward;
pub use batch::{Batch, Segment, Target};
pub use bench::{PeakBench, StepBench, StepShape, StepTime};
pub use cache::{KvCache, SharedPrefix};
pub use compute::{Compute, ProductSpeeds};
pub use decode::Decoder;
pub use files::write_logits;
pub use fork::{Fork, ForkError, Outcome};
pub use forward::{forward, forward_with_reference, logits, target_hidden};
pub use generate::{
    Completion, Event, FinishReason, ForkFinder, GenerateError, GenerateOptions, GenerateWork, Request, Steering,
    generate, generate_each, generator_size,
};
pub use gradients::Gradients;
pub use head::{OutputGradient, ReferenceHidden};
pub use initialise::{embedding_spread, standard_normal};
pub use linear::Dropout;
pub use lora::{Lora, LoraGroup, LoraMember, SavedModules};
pub use model::{Layer, Linear, Model, TensorRef};
pub use nf4::quantise;
pub use ops::rope::RopeTable;
pub use optimiser::{AdamW, AdamWConfig};
pub use options::{ForwardOptions, Recompute};
pub use prompts::PromptTree;
pub use real::Real;
pub use sample::Sampling;
pub use verify::{ExportError, LogitDifference, Tolerance, verify_export};
pub use weights::Matrix;
pub use worker::{
    ChangeGradient, GenerationMemory, Generator, GeneratorSize, HostWorker, Job, JobTiming, MemoryPlan, MemoryRequest,
    NamedTensor, OutputGradientOf, Pick, Picked, Policy, PolicyShape, Prefix, Prompt, TargetValues, TrainingSetup,
    Worker, WorkerError,
};
pub use workspace::Workspace;
