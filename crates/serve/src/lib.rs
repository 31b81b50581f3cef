#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod browser;
mod error;
mod guard;
mod server;
mod site;

pub use browser::open_browser;
pub use error::ServeError;
pub use server::Server;
pub use site::{Answer, Method, Request, Site};
