//! Finding and opening cards.

use std::sync::Arc;

use tabpo_cuda::compiler::{Architecture, Compiler};
use tabpo_cuda::driver::{Card, Device, DriverError, Element, System, memory_of, products_library};
use tabpo_cuda::library::{Library, LibraryError, Search};
use tabpo_cuda::module::Store;
use tabpo_engine::Compute;

use super::{Chosen, Computer};
use crate::{error::Error, observer::Observer};

/// What CUDA takes of a card's memory itself: context, kernels and libraries.
const CONTEXT: u64 = 800_000_000;

/// Bytes of a card's memory that a run can use.
pub(crate) fn usable(memory: u64) -> u64 {
    (memory / 100 * 95).saturating_sub(CONTEXT)
}

/// What CUDA takes of a card's memory itself beside the context, which takes its part before free memory is read: kernels
/// and libraries.
const LIBRARIES: u64 = 300_000_000;

/// Bytes of a card's memory that a run can use now.
pub(super) fn free(card: &Device) -> Result<u64, Error> {
    let memory = memory_of(&Search::of_this_machine(), card.index).map_err(|error| refused(&error))?;
    Ok(memory.free.saturating_sub(LIBRARIES) / 100 * 95)
}

/// The cards that can be used, and whether the libraries are there without which none can.
fn usable_cards(search: &Search) -> Result<Vec<Device>, DriverError> {
    let system = System::open(search)?;
    let cards = system.devices()?;
    let newest = Some(system.version().major);
    products_library(search, newest)?;
    if !matches!(Store::of_this_machine(), Store::Given(_)) {
        Compiler::open(search, newest)?;
    }
    Ok(cards)
}

/// The first card that can be used.
pub(super) fn any() -> Chosen {
    // Asking `python3` for its packages takes time, for which a machine without a driver has no use.
    let named = std::env::var_os(tabpo_cuda::library::VARIABLE).is_some_and(|value| !value.is_empty());
    let cards = if named { Ok(()) } else { System::open(&Search::default()).map(drop) };
    let cards = match cards.and_then(|()| usable_cards(&Search::of_this_machine())) {
        Ok(cards) => cards,
        // Most machines have none, and their users need not hear of folders that were searched.
        Err(DriverError::Library(LibraryError::Missing { library: Library::Driver, .. })) => {
            return Chosen::Cpu(Some("no NVIDIA driver was found".to_owned()));
        }
        Err(error) => return Chosen::Cpu(Some(error.to_string())),
    };
    match cards.iter().find(|card| card.architecture >= Architecture::OLDEST) {
        Some(card) => Chosen::Card(card.clone()),
        None => Chosen::Cpu(Some("no card has compute capability 8.0 or newer".to_owned())),
    }
}

/// The card that the process of this number takes, where there are several that can be used.
pub(super) fn among(number: usize) -> Option<Chosen> {
    let mut cards = usable_cards(&Search::of_this_machine()).ok()?;
    cards.retain(|card| card.architecture >= Architecture::OLDEST);
    (cards.len() > 1).then(|| Chosen::Card(cards[number % cards.len()].clone()))
}

/// The card of this number.
pub(super) fn numbered(number: usize) -> Result<Chosen, Error> {
    let cards = usable_cards(&Search::of_this_machine()).map_err(|error| refused(&error))?;
    let Some(card) = cards.get(number) else {
        let numbers =
            if cards.len() == 1 { "only card 0".to_owned() } else { format!("cards 0 to {}", cards.len() - 1) };
        return Err(Error::input(format!("there is no card {number}: this machine has {numbers}"))
            .with_hint("`tabpo gpu info` lists the cards; model.device chooses one"));
    };
    if card.architecture < Architecture::OLDEST {
        let message =
            format!("card {number} ({}) has compute capability {}; 8.0 or newer is needed", card.name, card.capability);
        return Err(Error::input(message).with_hint("set model.device to cpu, or choose another card"));
    }
    Ok(Chosen::Card(card.clone()))
}

/// Opens a card and loads its kernels.
pub(super) fn open(card: &Device, compute: Compute, observer: &dyn Observer) -> Result<Computer, Error> {
    let store = Store::of_this_machine();
    observer.say(&format!("{}: loading the kernels, which are compiled at their first use", card.name));
    let driver = Card::open(&Search::of_this_machine(), &store, card.index).map_err(|error| refused(&error))?;
    let element = if compute == Compute::F32 { Element::F32 } else { Element::Bf16 };
    Ok(Computer::Card(Arc::new(driver), element))
}

fn refused(error: &DriverError) -> Error {
    let hint = error.hint();
    let error = Error::failed(error.to_string());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error.with_hint("set model.device to cpu to train on the CPU"),
    }
}
