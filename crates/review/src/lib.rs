#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod corrections;
mod curated;
mod error;
mod journal;
mod material;
mod patterns;
mod session;
mod site;
mod state;
mod view;

pub use error::{Refusal, ReviewError};
pub use material::{Confidence, Material};
pub use session::{Order, Session, Summary};
pub use site::ReviewSite;
pub use state::{EntityState, RelationState, UnitState, Verdict};
