#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! [`config`] is the configuration of a run, and [`range`] the range of every number in it. [`run`] has the stages
//! and what they leave in the run directory, with the policies on disk and their predictions that they are made
//! of. [`observer`] tells the calling program what happens. [`remote`] has hosted models answer documents,
//! [`corpora`] reads documents, [`memory`] compares what a training takes with what the machine has, and
//! [`writing`] writes files whole or not at all.
#![forbid(unsafe_code)]
#![warn(unreachable_pub, clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod config;
pub mod corpora;
pub mod error;
pub mod memory;
pub mod observer;
pub mod range;
pub mod remote;
pub mod run;
pub mod writing;

pub use self::{
    config::{Configuration, Overrides},
    error::{Error, ErrorKind},
    observer::Observer,
    run::{Pipeline, RunResult, Until},
};
