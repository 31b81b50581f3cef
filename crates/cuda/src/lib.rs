#![doc = include_str!("../README.md")]

mod bindings;
pub mod compiler;
pub mod cubin;
pub mod driver;
pub mod kernels;
pub mod library;
pub mod module;
