//! A device that is opened late.

use std::sync::OnceLock;

use tabpo_engine::Compute;

use super::{Chosen, Computer, Device};
use crate::{error::Error, observer::Observer};

/// A device that is opened when something is first computed on it.
pub struct LazyDevice {
    card: bool,
    chosen: Result<Chosen, Error>,
    compute: Compute,
    computer: OnceLock<Computer>,
}

impl LazyDevice {
    /// The CPU.
    pub fn cpu() -> Self {
        Self::opened(Computer::Cpu, Compute::Auto)
    }

    /// The device that is asked for. `compute` is how its products are computed, as for [`Chosen::open`].
    ///
    /// # Errors
    /// If it is a card that is not there or cannot be used.
    pub fn choose(device: Device, compute: Compute) -> Result<Self, Error> {
        Ok(Self::chosen(Ok(device.choose()?), false, compute))
    }

    /// A device that is open. `compute` is how its products are computed, as for [`Chosen::open`].
    pub fn opened(computer: Computer, compute: Compute) -> Self {
        let card = computer.is_card();
        Self { card, chosen: Ok(Chosen::Cpu(None)), compute, computer: OnceLock::from(computer) }
    }

    /// The device that was chosen, or why there is none; `card` says what is asked of it if there is none.
    pub(crate) fn chosen(chosen: Result<Chosen, Error>, card: bool, compute: Compute) -> Self {
        let card = chosen.as_ref().map_or(card, Chosen::is_card);
        Self { card, chosen, compute, computer: OnceLock::new() }
    }

    /// Whether it is a card.
    pub fn is_card(&self) -> bool {
        self.card
    }

    /// What results depend on, in the words of a stage's inputs; `None` for the CPU.
    pub(crate) fn inputs(&self) -> Option<&'static str> {
        card_inputs(self.card, self.compute)
    }

    /// The same for the other kind of device.
    pub(crate) fn elsewhere(&self) -> Option<&'static str> {
        card_inputs(!self.card, self.compute)
    }

    /// The device in words; `None` if it was given open and is the CPU.
    pub fn words(&self) -> Option<String> {
        match (self.computer.get(), &self.chosen) {
            (Some(computer), _) if computer.is_card() => Some(computer.name()),
            (Some(_), _) | (None, Err(_)) => None,
            (None, Ok(chosen)) => Some(chosen.words()),
        }
    }

    /// Bytes of the card's memory that a run can use now, if it is a card.
    pub fn memory(&self) -> Result<Option<u64>, Error> {
        match (self.computer.get(), &self.chosen) {
            (Some(computer), _) => computer.free(),
            (None, Ok(chosen)) => chosen.memory(),
            (None, Err(error)) => Err(error.again()),
        }
    }

    /// The device, opened; the first time, it is named.
    pub fn open(&self, observer: &dyn Observer) -> Result<&Computer, Error> {
        if let Some(computer) = self.computer.get() {
            return Ok(computer);
        }
        let chosen = self.chosen.as_ref().map_err(Error::again)?;
        observer.say(&format!("computing on {}", chosen.words()));
        let computer = chosen.open(self.compute, observer)?;
        Ok(self.computer.get_or_init(|| computer))
    }
}

/// How a card computes, in the words of a stage's inputs; `None` for the CPU.
fn card_inputs(card: bool, compute: Compute) -> Option<&'static str> {
    card.then_some(if compute == Compute::F32 { "card, f32" } else { "card, bf16" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_depend_on_how_a_card_computes() {
        assert_eq!(card_inputs(false, Compute::Auto), None);
        assert_eq!(card_inputs(true, Compute::Auto), Some("card, bf16"));
        assert_eq!(card_inputs(true, Compute::F32), Some("card, f32"));
    }
}
