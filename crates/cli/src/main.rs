//! The command line of tabpo.
fn main() {}
