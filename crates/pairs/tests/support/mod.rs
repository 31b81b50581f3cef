//! What the tests share: random tasks, and a checker that knows nothing of the generator.

#![allow(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod checker;
pub(crate) mod world;
