#![doc = include_str!("../README.md")]

mod adapter;
pub mod arena;
mod bindings;
mod block;
mod buffers;
pub mod check;
pub mod compiler;
pub mod cubin;
mod decode;
pub mod driver;
mod head;
pub mod kernels;
pub mod library;
mod listed;
pub mod memory;
pub mod module;
pub mod ops;
mod pass;
pub mod plan;
mod quantised;
mod trained;
mod weights;
mod worker;

pub use quantised::Base;
pub use worker::{CudaWorker, WorkerOptions};
