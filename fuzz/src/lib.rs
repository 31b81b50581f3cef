//! Fuzz targets for everything that reads what others wrote.
//!
//! Whatever the input, a reader may neither panic nor take longer than ten seconds or more than one
//! gigabyte, and what it has read holds what its crate promises. In this folder, with a nightly toolchain
//! and cargo-fuzz:
//!
//! ```sh
//! python3 seeds.py FOLDER                  # fills corpus/ from a folder of cases and this repository
//! cargo +nightly fuzz build -s none        # all targets; none of them has unsafe code of its own
//! ./run.sh 3600                            # every target for an hour; a list of targets may follow
//! cargo +nightly fuzz run -s none TARGET artifacts/TARGET/FILE    # one input again
//! ```
//!
//! Checksums are not compared under `cfg(fuzzing)`: what is behind them has to hold by itself.

mod answers;
mod corpora;
mod models;
mod scratch;

pub use answers::{check, check_round_trip, document, ontology};
pub use corpora::{check_corpus, check_file, corpus_ontology, documents};
pub use models::{Folder, check_model, check_template, check_tokenizer, date, fixture, quiet_guards};
pub use scratch::{SEPARATOR, Scratch, parts};
