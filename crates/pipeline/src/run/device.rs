//! The choice of the device on which a run trains.
//!
//! Numbers of a card are not those of a CPU, so a run that is left to choose (`auto`) chooses once and keeps its choice in
//! the run directory: a run that was trained on a card can be evaluated elsewhere, and none is trained again because a card
//! has appeared.

use std::{cell::OnceCell, sync::Arc};

use serde::{Deserialize, Serialize};
use tabpo_engine::Compute;

use super::{
    directory::{RunDirectory, write_atomically},
    ranks::Lead,
    record,
};
use crate::{
    config::ModelSection,
    device::{Chosen, Computer, Device, card_inputs},
    error::{Error, ResultExt},
    observer::Observer,
};

/// The file of the choice in the run directory.
const FILE: &str = "device.json";

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Cpu,
    Card,
}

#[derive(Debug, Serialize, Deserialize)]
struct Choice {
    device: Kind,
}

/// The device of a run, which is opened when something is trained.
pub(super) struct RunDevice {
    kind: Kind,
    chosen: Result<Chosen, Error>,
    compute: Compute,
    computer: OnceCell<Computer>,
    /// The other processes that train along, if there are any.
    lead: Option<Arc<Lead>>,
}

impl RunDevice {
    /// The device of a run. Has to be called before the run's record is made.
    pub(super) fn of_run(
        model: &ModelSection,
        directory: &RunDirectory,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let path = directory.path(FILE)?;
        let earlier = match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice::<Choice>(&text) {
                Ok(choice) => Some(choice.device),
                Err(error) => {
                    observer.warn(&format!("{} is damaged ({error}): the device is chosen again", path.display()));
                    None
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Runs of versions that knew no cards were trained on the CPU.
                record::exists(directory)?.then_some(Kind::Cpu)
            }
            Err(error) => return Err(error).or_failed(),
        };
        let asked = match (model.device, earlier) {
            (Device::Auto, Some(Kind::Cpu)) => Device::Cpu,
            (device, _) => device,
        };
        let mut chosen = asked.choose();
        if let (Device::Auto, Some(Kind::Card), Ok(Chosen::Cpu(reason))) = (asked, earlier, &chosen) {
            let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
            chosen = Err(Error::input(format!("this run was begun on a card, and here is none{reason}"))
                .with_hint("set model.device to cpu to train on the CPU what is not trained yet"));
        }
        let kind = match &chosen {
            Ok(chosen) if chosen.is_card() => Kind::Card,
            Ok(_) => Kind::Cpu,
            // What is trained already can still be evaluated.
            Err(_) if earlier == Some(Kind::Card) => Kind::Card,
            Err(error) => return Err(error.again()),
        };
        if earlier != Some(kind) {
            write_atomically(&path, &serde_json::to_vec(&Choice { device: kind }).expect("a choice is plain data"))?;
        }
        Ok(Self { kind, chosen, compute: model.compute, computer: OnceCell::new(), lead: None })
    }

    /// With other processes that train along.
    pub(super) fn with_ranks(self, lead: Option<Arc<Lead>>) -> Self {
        Self { lead, ..self }
    }

    /// The other processes that train along, if there are any.
    pub(super) fn ranks(&self) -> Option<&Lead> {
        self.lead.as_deref()
    }

    /// What trainings depend on; `None` for the CPU.
    pub(super) fn inputs(&self) -> Option<&'static str> {
        card_inputs(self.kind == Kind::Card, self.compute)
    }

    /// The device, opened; the first time, it is named.
    pub(super) fn open(&self, observer: &dyn Observer) -> Result<&Computer, Error> {
        if let Some(computer) = self.computer.get() {
            return Ok(computer);
        }
        let computer = match &self.chosen {
            Ok(chosen) => {
                observer.say(&format!("training on {}", chosen.words()));
                if chosen.is_card() {
                    observer.say("answers, scores of pairs and guide models are still computed on the CPU");
                }
                chosen.open(self.compute, observer)?
            }
            Err(error) => return Err(error.again()),
        };
        Ok(self.computer.get_or_init(|| computer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::record::{Program, RunRecord};

    fn section(device: Device) -> ModelSection {
        ModelSection { device, ..ModelSection::default() }
    }

    fn written(folder: &std::path::Path) -> String {
        std::fs::read_to_string(folder.join(FILE)).expect("the choice")
    }

    #[test]
    fn a_run_keeps_its_kind_of_device() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory::open(folder.path()).expect("a run directory");
        let device = RunDevice::of_run(&section(Device::Cpu), &directory, &()).expect("the CPU");
        assert_eq!((written(folder.path()).as_str(), device.inputs()), (r#"{"device":"cpu"}"#, None));
        assert!(!device.open(&()).expect("the CPU").is_card());
        // Left to choose, it stays where it was, whatever the machine has.
        let device = RunDevice::of_run(&section(Device::Auto), &directory, &()).expect("the CPU");
        assert!(matches!(device.chosen, Ok(Chosen::Cpu(None))));

        std::fs::write(folder.path().join(FILE), r#"{"device":"card"}"#).expect("writable");
        let device = RunDevice::of_run(&section(Device::Auto), &directory, &()).expect("what is trained is there");
        assert_eq!(device.inputs(), Some("card, bf16"));
        if !device.chosen.as_ref().is_ok_and(Chosen::is_card) {
            let error = device.open(&()).err().expect("there is no card");
            assert!(error.to_string().contains("begun on a card") && error.hint().is_some(), "{error}");
        }
        // Asked for, the CPU takes over.
        let device = RunDevice::of_run(&section(Device::Cpu), &directory, &()).expect("the CPU");
        assert_eq!((written(folder.path()).as_str(), device.inputs()), (r#"{"device":"cpu"}"#, None));
    }

    #[test]
    fn runs_of_earlier_versions_stay_on_the_cpu() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory::open(folder.path()).expect("a run directory");
        RunRecord::of_run(&directory, &Program::default(), &()).expect("a record");
        let device = RunDevice::of_run(&section(Device::Auto), &directory, &()).expect("the CPU");
        assert!(matches!(device.chosen, Ok(Chosen::Cpu(None))));
    }
}
