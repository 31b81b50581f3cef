//! What a training takes of a card that need not be there: its memory, from the planner that cuts it up, and its time, from
//! the card's data sheet. Nothing here is measured.

mod cards;
mod cost;
mod memory;
mod shapes;

pub use cards::{CARDS, Card};
pub use cost::{Cost, SUSTAINED};
pub use memory::{Base, Memory, Setting};
pub use shapes::{SHAPES, shape};
