#![doc = include_str!("../README.md")]

pub mod arena;
mod bindings;
pub mod check;
pub mod compiler;
pub mod cubin;
pub mod driver;
pub mod kernels;
pub mod library;
pub mod memory;
pub mod module;
pub mod ops;
pub mod plan;
