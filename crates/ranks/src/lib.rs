#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod exchange;
mod handshake;
mod leader;
mod links;
mod meeting;
mod member;
mod message;
mod place;
mod share;
mod tcp;

pub use leader::Ranks;
pub use links::{LinkError, Links};
pub use meeting::{Meeting, MeetingError};
pub use member::serve;
pub use place::{Place, PlaceError};
