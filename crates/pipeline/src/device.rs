//! Where models are trained and answer: on the CPU, or on an NVIDIA card.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tabpo_engine::{Compute, HostWorker, Policy, Worker};

#[cfg(feature = "cuda")]
use crate::error::ResultExt;
use crate::{error::Error, observer::Observer, run::Lead};

/// Where models are trained and answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// A card if there is one that can be used, and otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The card of this number, as the driver counts those that are visible.
    Cuda(u8),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(card) => write!(f, "cuda:{card}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let card = text.strip_prefix("cuda:").and_then(|card| card.parse().ok());
                card.map(Self::Cuda).ok_or_else(|| {
                    format!("`{text}` is not a device: expected auto, cpu, cuda, or cuda:1 for the second card")
                })
            }
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The device that was chosen, before it is opened.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// The CPU, with the reason if that was not asked for.
    Cpu(Option<String>),
    /// A card.
    #[cfg(feature = "cuda")]
    Card(tabpo_cuda::driver::Device),
}

impl Device {
    /// Finds the device.
    ///
    /// # Errors
    /// If a card is asked for that is not there or cannot be used.
    pub fn choose(self) -> Result<Chosen, Error> {
        match self {
            Self::Cpu => Ok(Chosen::Cpu(None)),
            Self::Auto => Ok(card::any()),
            Self::Cuda(number) => card::numbered(number.into()),
        }
    }
}

impl Device {
    /// Finds the device of the process of this number among those that train together on this machine: where no single card
    /// is named and there are several, each process takes another.
    ///
    /// # Errors
    /// If a card is asked for that is not there or cannot be used.
    pub fn choose_among(self, number: usize) -> Result<Chosen, Error> {
        match self {
            Self::Auto | Self::Cuda(0) => card::among(number).map_or_else(|| self.choose(), Ok),
            _ => self.choose(),
        }
    }
}

impl Chosen {
    /// The device in words.
    pub fn words(&self) -> String {
        match self {
            Self::Cpu(None) => "the CPU".to_owned(),
            Self::Cpu(Some(reason)) => format!("the CPU ({reason})"),
            #[cfg(feature = "cuda")]
            Self::Card(card) => {
                format!("card {} ({}, {})", card.index, card.name, crate::memory::size(card.memory as usize))
            }
        }
    }

    /// Whether it is a card.
    pub fn is_card(&self) -> bool {
        !matches!(self, Self::Cpu(_))
    }

    /// Bytes of the card's memory that a run can use now, if it is a card. The card is opened for the question, which takes
    /// part of a second.
    pub fn memory(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Cpu(_) => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Card(card) => card::free(card).map(Some),
        }
    }

    /// Opens the device. `compute` is how products are computed; a card takes bf16 unless single precision is asked for.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "there is only the CPU"))]
    pub fn open(&self, compute: Compute, observer: &dyn Observer) -> Result<Computer, Error> {
        match self {
            Self::Cpu(_) => Ok(Computer::Cpu),
            #[cfg(feature = "cuda")]
            Self::Card(card) => card::open(card, compute, observer),
        }
    }
}

/// A device that is opened when something is first computed on it.
pub struct LazyDevice {
    card: bool,
    chosen: Result<Chosen, Error>,
    compute: Compute,
    computer: OnceLock<Computer>,
    /// The other processes that train along, if there are any.
    lead: Option<Arc<Lead>>,
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
        Self { card, chosen: Ok(Chosen::Cpu(None)), compute, computer: OnceLock::from(computer), lead: None }
    }

    /// The device that was chosen, or why there is none; `card` says what is asked of it if there is none.
    pub(crate) fn chosen(chosen: Result<Chosen, Error>, card: bool, compute: Compute) -> Self {
        let card = chosen.as_ref().map_or(card, Chosen::is_card);
        Self { card, chosen, compute, computer: OnceLock::new(), lead: None }
    }

    /// With other processes that train along.
    pub(crate) fn with_ranks(self, lead: Option<Arc<Lead>>) -> Self {
        Self { lead, ..self }
    }

    /// The other processes that train along, if there are any.
    pub(crate) fn ranks(&self) -> Option<&Lead> {
        self.lead.as_deref()
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

/// A device that is ready to compute.
#[derive(Clone)]
pub enum Computer {
    /// The CPU.
    Cpu,
    /// A card, with the type in which it computes.
    #[cfg(feature = "cuda")]
    Card(std::sync::Arc<dyn tabpo_cuda::driver::Driver>, tabpo_cuda::driver::Element),
}

/// The time of a kernel in what was computed on a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// Its name; products, copies and transfers are no kernels of ours and have the names of what they are.
    pub kernel: String,
    /// How often it was started.
    pub calls: u64,
    /// How long it took in all, in seconds.
    pub seconds: f64,
}

/// The times of the kernels on a device that is timed.
pub struct Profile(#[cfg(feature = "cuda")] std::sync::Arc<tabpo_cuda::driver::Profile>);

impl Profile {
    /// The times so far, the longest first.
    pub fn times(&self) -> Vec<KernelTime> {
        #[cfg(feature = "cuda")]
        let spent = self.0.spent().into_iter();
        #[cfg(feature = "cuda")]
        let mut times: Vec<KernelTime> =
            spent.map(|(kernel, spent)| KernelTime { kernel, calls: spent.calls, seconds: spent.seconds }).collect();
        #[cfg(not(feature = "cuda"))]
        let mut times: Vec<KernelTime> = Vec::new();
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        times
    }
}

/// A worker on the device of a run.
pub enum DeviceWorker {
    /// On the CPU.
    Host(Box<HostWorker<f32>>),
    /// On a card.
    #[cfg(feature = "cuda")]
    Card(Box<tabpo_cuda::CudaWorker>),
}

impl Computer {
    /// Whether it is a card.
    pub fn is_card(&self) -> bool {
        !matches!(self, Self::Cpu)
    }

    /// How products are computed on a card, in words, if it is one.
    pub fn compute(&self) -> Option<&'static str> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "cuda")]
            Self::Card(_, element) => Some(element.suffix()),
        }
    }

    /// The card's name, or `the CPU`.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => "the CPU".to_owned(),
            #[cfg(feature = "cuda")]
            Self::Card(driver, _) => driver.name(),
        }
    }

    /// Bytes of the card's memory that are free, if it is a card.
    pub fn free(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Card(driver, _) => Ok(Some(driver.memory().or_failed()?.free)),
        }
    }

    /// Bytes of the card's memory that are in use, by this process and others, if it is a card.
    pub fn used(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Card(driver, _) => {
                let memory = driver.memory().or_failed()?;
                Ok(Some(memory.total - memory.free))
            }
        }
    }

    /// How fast a card computes large matrix products, in GFLOP/s, if it is one.
    pub fn product_gflops(&self) -> Result<Option<f64>, Error> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Card(driver, element) => tabpo_cuda::check::product_gflops(driver, *element).map(Some).or_failed(),
        }
    }

    /// The same device with the time of every kernel, which costs time itself; `None` for the CPU.
    pub fn profiled(&self) -> Option<(Self, Profile)> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "cuda")]
            Self::Card(driver, element) => {
                let profile = std::sync::Arc::new(tabpo_cuda::driver::Profile::new(std::sync::Arc::clone(driver)));
                let driver: std::sync::Arc<dyn tabpo_cuda::driver::Driver> =
                    std::sync::Arc::<tabpo_cuda::driver::Profile>::clone(&profile);
                Some((Self::Card(driver, *element), Profile(profile)))
            }
        }
    }

    /// Puts a policy on the device.
    pub fn worker(&self, policy: Policy<f32>) -> Result<DeviceWorker, Error> {
        match self {
            Self::Cpu => Ok(DeviceWorker::Host(Box::new(HostWorker::new(policy)))),
            #[cfg(feature = "cuda")]
            Self::Card(driver, element) => {
                let options = tabpo_cuda::WorkerOptions { element: *element, ..tabpo_cuda::WorkerOptions::default() };
                let worker = tabpo_cuda::CudaWorker::new(std::sync::Arc::clone(driver), policy, options).or_failed()?;
                Ok(DeviceWorker::Card(Box::new(worker)))
            }
        }
    }
}

impl DeviceWorker {
    /// The worker, wherever it computes.
    pub fn worker(&mut self) -> &mut dyn Worker {
        match self {
            Self::Host(worker) => worker.as_mut(),
            #[cfg(feature = "cuda")]
            Self::Card(worker) => worker.as_mut(),
        }
    }

    /// Bytes that the plan of a card's memory has for the largest job of training so far, if it is a card's.
    pub fn planned_bytes(&self) -> Option<u64> {
        match self {
            Self::Host(_) => None,
            #[cfg(feature = "cuda")]
            Self::Card(worker) => worker.planned_bytes(),
        }
    }

    /// Bytes of the model's weights in the memory of this machine beside those of a card.
    pub(crate) fn host_bytes(&self) -> usize {
        match self {
            Self::Host(worker) => worker.policy().model().bytes(),
            #[cfg(feature = "cuda")]
            Self::Card(_) => 0,
        }
    }

    /// The policy as it is now.
    pub fn into_policy(self) -> Result<Policy<f32>, Error> {
        match self {
            Self::Host(worker) => Ok(worker.into_policy()),
            #[cfg(feature = "cuda")]
            Self::Card(worker) => worker.into_policy().or_failed(),
        }
    }
}

/// How a card computes, in the words of a stage's inputs; `None` for the CPU.
pub(crate) fn card_inputs(card: bool, compute: Compute) -> Option<&'static str> {
    card.then_some(if compute == Compute::F32 { "card, f32" } else { "card, bf16" })
}

/// What CUDA takes of a card's memory itself: context, kernels and libraries.
#[cfg(feature = "cuda")]
const CONTEXT: u64 = 800_000_000;

/// Bytes of a card's memory that a run can use.
#[cfg(feature = "cuda")]
pub(crate) fn usable(memory: u64) -> u64 {
    (memory / 100 * 95).saturating_sub(CONTEXT)
}

#[cfg(not(feature = "cuda"))]
mod card {
    use super::{Chosen, Error};

    const WITHOUT: &str = "this program was built without support for cards";

    pub(super) fn any() -> Chosen {
        Chosen::Cpu(Some(WITHOUT.to_owned()))
    }

    pub(super) fn among(_: usize) -> Option<Chosen> {
        None
    }

    pub(super) fn numbered(number: usize) -> Result<Chosen, Error> {
        let hint = "build it with the feature `cuda`, or set model.device to cpu";
        Err(Error::input(format!("card {number} was asked for, but {WITHOUT}")).with_hint(hint))
    }
}

#[cfg(feature = "cuda")]
mod card {
    use std::sync::Arc;

    use tabpo_cuda::compiler::{Architecture, Compiler};
    use tabpo_cuda::driver::{Card, Device, DriverError, Element, System, memory_of, products_library};
    use tabpo_cuda::library::{Library, LibraryError, Search};
    use tabpo_cuda::module::Store;
    use tabpo_engine::Compute;

    use super::{Chosen, Computer, Error, Observer};

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
            let message = format!(
                "card {number} ({}) has compute capability {}; 8.0 or newer is needed",
                card.name, card.capability
            );
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for text in ["auto", "cpu", "cuda", "cuda:1", "cuda:12"] {
            assert_eq!(text.parse::<Device>().expect("a device").to_string(), text);
        }
        assert_eq!("cuda:0".parse(), Ok(Device::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:256", "CUDA", "cuda:0,1"] {
            let error = text.parse::<Device>().expect_err("not a device");
            assert!(error.contains(&format!("`{text}`")) && error.contains("cuda:1"), "{error}");
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert!(matches!(Device::Cpu.choose(), Ok(Chosen::Cpu(None))));
        assert_eq!(card_inputs(false, Compute::Auto), None);
        assert_eq!(card_inputs(true, Compute::Auto), Some("card, bf16"));
        assert_eq!(card_inputs(true, Compute::F32), Some("card, f32"));
    }
}
