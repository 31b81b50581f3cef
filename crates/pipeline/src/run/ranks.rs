//! Training on several processes: rank 0 goes through the stages of a run, the others take part in its trainings.

use serde::{Deserialize, Serialize};
use tabpo_engine::WorkerError;
use tabpo_ranks::{LinkError, Links, Meeting, serve};

use super::{PolicyFolder, training::open_policy};
use crate::{
    config::{AdapterSection, ModelSection},
    device::Computer,
    error::{Error, ResultExt},
    observer::Observer,
};

/// The policy that the next training starts from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening {
    /// Where it is.
    pub start: PolicyFolder,
    /// The adapter that is trained, unless all parameters are.
    pub adapter: Option<AdapterSection>,
    /// The seed of a new adapter.
    pub seed: u64,
    /// Whether rank 0 trains on a card.
    pub card: bool,
}

/// The lead over the other ranks of a run, which end when this is dropped.
pub struct Lead(Meeting);

impl Lead {
    /// Takes the lead, as rank 0.
    pub fn new(meeting: Meeting) -> Self {
        Self(meeting)
    }

    pub(super) fn links(&self) -> &Links {
        &self.0.links
    }

    /// How many ranks share this machine's memory.
    pub(super) fn on_this_machine(&self) -> usize {
        self.0.on_this_machine().1
    }

    /// Has all other ranks open a policy and wait for the training.
    pub(super) fn open(&self, opening: &Opening) -> Result<(), Error> {
        let text = serde_json::to_vec(opening).map_err(|error| {
            Error::input(format!("the other ranks can't be told of {}: {error}", opening.start.model.display()))
        })?;
        let links = self.links();
        let sent = (1..links.size()).try_for_each(|rank| links.send(rank, text.clone()));
        sent.map_err(WorkerError::from).or_failed()
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let links = self.links();
        links.fail(&LinkError::new(links.rank(), "the run has ended"));
    }
}

/// What every rank but the first does: takes part in the trainings of rank 0, until that has ended. What goes wrong here,
/// rank 0 reports.
///
/// # Errors
/// If rank 0 was lost, so that it can report nothing.
pub fn follow(meeting: &Meeting, model: &ModelSection, observer: &dyn Observer) -> Result<(), Error> {
    let links = &meeting.links;
    let mut computer = None;
    let ended = loop {
        let text = match links.receive(0) {
            Ok(text) => text,
            Err(error) => break error,
        };
        let policy = open(&text, model, meeting.on_this_machine().0, &mut computer, observer);
        let served = match policy {
            Ok(mut worker) => serve(worker.worker(), links),
            Err(error) => {
                let reason = error.to_string();
                let error = LinkError { hint: error.hint().map(str::to_owned), ..LinkError::new(links.rank(), reason) };
                links.fail(&error);
                Err(error)
            }
        };
        if let Err(error) = served {
            break error;
        }
    };
    if ended.rank == 0 && ended.lost {
        return Err(Error::failed(ended.to_string()).with_hint(ended.hint.unwrap_or_default()));
    }
    // A launcher may end all processes with the first one, so this waits until rank 0 has said what happened.
    while links.receive(0).is_ok() {}
    Ok(())
}

fn open(
    text: &[u8],
    model: &ModelSection,
    card: usize,
    computer: &mut Option<Computer>,
    observer: &dyn Observer,
) -> Result<crate::device::DeviceWorker, Error> {
    let opening: Opening = serde_json::from_slice(text)
        .map_err(|error| Error::failed(format!("what rank 0 asks for can't be read: {error}")))?;
    let computer = match computer {
        Some(computer) => &*computer,
        None if opening.card => {
            let chosen = model.device.choose_among(card)?;
            if !chosen.is_card() {
                return Err(Error::input(format!("rank 0 trains on a card, but here it would be {}", chosen.words()))
                    .with_hint("set model.device to cpu, or start the ranks on machines with cards"));
            }
            computer.insert(chosen.open(model.compute, observer)?)
        }
        None => computer.insert(Computer::Cpu),
    };
    let policy = open_policy(&opening.start, opening.adapter.as_ref(), opening.seed, computer.is_card())?;
    computer.worker(policy)
}
