//! Where models are trained and answer: on the CPU, or on an NVIDIA card.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tabpo_engine::Compute;

use crate::{error::Error, observer::Observer};

#[cfg(feature = "cuda")]
mod card;
#[cfg(not(feature = "cuda"))]
#[path = "no_card.rs"]
mod card;
mod computer;
mod lazy;
mod profile;

#[cfg(feature = "cuda")]
pub(crate) use card::usable;
pub use computer::{Computer, DeviceWorker};
pub use lazy::LazyDevice;
pub use profile::{KernelTime, Profile};

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
    }
}
