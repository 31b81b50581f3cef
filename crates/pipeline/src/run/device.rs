//! The choice of the device on which a run computes.
//!
//! Numbers of a card are not those of a CPU, so a run that is left to choose (`auto`) chooses once and keeps its choice in
//! the run directory. If the other kind of device is asked for, what is finished stays and what was begun is taken up: a run
//! that was trained on a card can be evaluated elsewhere, and none is trained again because a card has appeared.

use serde::{Deserialize, Serialize};

use super::{
    directory::{RunDirectory, write_atomically},
    record,
};
use crate::{
    config::ModelSection,
    device::{Chosen, Computer, Device, LazyDevice},
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

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Cpu => "the CPU",
            Self::Card => "a card",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Choice {
    device: Kind,
}

/// The device of a run. Has to be called before the run's record is made. A device that is `given` open is taken.
pub(super) fn of_run(
    model: &ModelSection,
    given: Option<&Computer>,
    directory: &RunDirectory,
    observer: &dyn Observer,
) -> Result<LazyDevice, Error> {
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
    let device = match given {
        Some(computer) => LazyDevice::opened(computer.clone(), model.compute),
        None => chosen(model, earlier)?,
    };
    let kind = if device.is_card() { Kind::Card } else { Kind::Cpu };
    if earlier != Some(kind) {
        if earlier.is_some() {
            observer.say(&format!(
                "this run was begun on {}: what is finished stays, and the rest is computed on {}",
                earlier.map_or("", Kind::words),
                kind.words()
            ));
        }
        write_atomically(&path, &serde_json::to_vec(&Choice { device: kind }).expect("a choice is plain data"))?;
    }
    Ok(device)
}

/// The device that the configuration asks for, given the kind that the run has used so far.
fn chosen(model: &ModelSection, earlier: Option<Kind>) -> Result<LazyDevice, Error> {
    let asked = match (model.device, earlier) {
        (Device::Auto, Some(Kind::Cpu)) => Device::Cpu,
        (device, _) => device,
    };
    let mut chosen = asked.choose();
    if let (Device::Auto, Some(Kind::Card), Ok(Chosen::Cpu(reason))) = (asked, earlier, &chosen) {
        let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        chosen = Err(Error::input(format!("this run was begun on a card, and here is none{reason}"))
            .with_hint("set model.device to cpu to compute on the CPU what is not finished yet"));
    }
    match &chosen {
        // What is finished already can still be evaluated.
        Err(error) if earlier != Some(Kind::Card) => Err(error.again()),
        _ => Ok(LazyDevice::chosen(chosen, true, model.compute)),
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
        let device = of_run(&section(Device::Cpu), None, &directory, &()).expect("the CPU");
        assert_eq!((written(folder.path()).as_str(), device.inputs()), (r#"{"device":"cpu"}"#, None));
        assert!(!device.open(&()).expect("the CPU").is_card());
        // Left to choose, it stays where it was, whatever the machine has.
        let device = of_run(&section(Device::Auto), None, &directory, &()).expect("the CPU");
        assert_eq!(device.words().as_deref(), Some("the CPU"));

        std::fs::write(folder.path().join(FILE), r#"{"device":"card"}"#).expect("writable");
        let device = of_run(&section(Device::Auto), None, &directory, &()).expect("what is trained is there");
        assert_eq!(device.inputs(), Some("card, bf16"));
        if device.words().is_none() {
            let error = device.open(&()).err().expect("there is no card");
            assert!(error.to_string().contains("begun on a card") && error.hint().is_some(), "{error}");
        }
        // Asked for, the CPU takes over.
        let device = of_run(&section(Device::Cpu), None, &directory, &()).expect("the CPU");
        assert_eq!((written(folder.path()).as_str(), device.inputs()), (r#"{"device":"cpu"}"#, None));
    }

    #[test]
    fn runs_of_earlier_versions_stay_on_the_cpu() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory::open(folder.path()).expect("a run directory");
        RunRecord::of_run(&directory, &Program::default(), &()).expect("a record");
        let device = of_run(&section(Device::Auto), None, &directory, &()).expect("the CPU");
        assert_eq!(device.words().as_deref(), Some("the CPU"));
    }
}
