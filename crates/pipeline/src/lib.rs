#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! [`config`] has the configuration of a run, and [`range`] the valid range of every number in it. [`run`] has the stages
//! and what they read and write: policies on disk, predictions, the run directory and its ledger. Through [`observer`], a
//! run reports to the calling program. [`remote`] has hosted models answer documents, [`corpora`] reads documents,
//! [`memory`] estimates and measures memory, `outlook` what a training takes of a card that need not be there, [`writing`] writes files whole or not at all, [`starter`] makes a
//! configuration for documents and a model that are there, and [`describe`] says what a model is.
#![forbid(unsafe_code)]

pub mod config;
pub mod corpora;
pub mod describe;
pub mod device;
pub mod error;
pub mod memory;
pub mod observer;
#[cfg(feature = "cuda")]
pub mod outlook;
pub mod range;
pub mod remote;
pub mod run;
pub mod starter;
pub mod writing;

pub use self::{
    config::{Configuration, Overrides},
    error::{Error, ErrorKind},
    observer::Observer,
    run::{Pipeline, Program, RunResult, Until},
};
