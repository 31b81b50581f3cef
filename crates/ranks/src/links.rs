//! Connections between ranks: messages in order between any two, and sums over all.

use std::fmt::Display;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tabpo_engine::WorkerError;
use thiserror::Error;

use crate::tcp::Carriers;

/// A rank can no longer take part.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("rank {rank}: {reason}")]
pub struct LinkError {
    /// The rank that failed.
    pub rank: usize,
    /// What happened there.
    pub reason: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// Whether the rank itself said nothing of it.
    pub lost: bool,
}

impl LinkError {
    /// A failure of a rank.
    pub fn new(rank: usize, reason: impl Display) -> Self {
        Self { rank, reason: reason.to_string(), hint: None, lost: false }
    }

    /// What a worker's error means to the other ranks: `rank` failed, unless the error names another one.
    pub(crate) fn of_worker(rank: usize, error: WorkerError) -> Self {
        match error {
            WorkerError::Rank { rank, reason, hint } => Self { hint, ..Self::new(rank, reason) },
            other => Self { hint: other.hint().map(str::to_owned), ..Self::new(rank, &other) },
        }
    }
}

impl From<LinkError> for WorkerError {
    fn from(error: LinkError) -> Self {
        let LinkError { rank, reason, hint, lost: _ } = error;
        Self::Rank { rank, reason, hint }
    }
}

/// What travels between two ranks.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A message.
    Data(Vec<u8>),
    /// A rank has failed; nothing follows.
    Failed(LinkError),
}

/// The two directions between this rank and another.
pub(crate) struct Peer {
    /// Frames to the other rank. Sending never waits.
    pub(crate) to: Sender<Frame>,
    /// Frames from it. It ends when the other rank does.
    pub(crate) from: Mutex<Receiver<Frame>>,
}

/// One rank's connections to all the others.
pub struct Links {
    rank: usize,
    /// By rank; none for this one.
    peers: Vec<Option<Peer>>,
    /// What carries the frames, which has to live as long as the connections.
    carriers: Option<Box<Carriers>>,
}

impl Links {
    /// Connections through the memory of a process: those of rank 0, of rank 1, and so on.
    pub fn in_memory(ranks: usize) -> Vec<Self> {
        let mut tables: Vec<Vec<Option<Peer>>> = Vec::with_capacity(ranks);
        for _ in 0..ranks {
            let mut of_rank = Vec::with_capacity(ranks);
            for table in &mut tables {
                let ((to_rank, from_earlier), (to_earlier, from_rank)) = (channel(), channel());
                table.push(Some(Peer { to: to_rank, from: Mutex::new(from_rank) }));
                of_rank.push(Some(Peer { to: to_earlier, from: Mutex::new(from_earlier) }));
            }
            of_rank.push(None);
            tables.push(of_rank);
        }
        tables.into_iter().enumerate().map(|(rank, peers)| Self::new(rank, peers, None)).collect()
    }

    pub(crate) fn new(rank: usize, peers: Vec<Option<Peer>>, carriers: Option<Box<Carriers>>) -> Self {
        Self { rank, peers, carriers }
    }

    /// The number of this rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.peers.len()
    }

    fn peer(&self, rank: usize) -> &Peer {
        self.peers[rank].as_ref().expect("a rank has no connection to itself, and asks for none")
    }

    /// Sends a message to another rank, without waiting for it to arrive.
    ///
    /// # Errors
    /// If that rank has failed or ended.
    pub fn send(&self, to: usize, message: Vec<u8>) -> Result<(), LinkError> {
        if self.peer(to).to.send(Frame::Data(message)).is_ok() {
            return Ok(());
        }
        // Why it ended may be the last that it sent.
        loop {
            self.receive(to)?;
        }
    }

    /// Waits for the next message of another rank.
    ///
    /// # Errors
    /// If that rank has failed or ended.
    pub fn receive(&self, from: usize) -> Result<Vec<u8>, LinkError> {
        let frames = self.peer(from).from.lock().unwrap_or_else(PoisonError::into_inner);
        match frames.recv() {
            Ok(Frame::Data(message)) => Ok(message),
            Ok(Frame::Failed(error)) => Err(error),
            Err(_) => Err(LinkError { lost: true, ..LinkError::new(from, "ended without giving a reason") }),
        }
    }

    /// Tells all other ranks of a failure, which ends the work of all of them. It is the last that they hear of this one.
    pub fn fail(&self, error: &LinkError) {
        for peer in self.peers.iter().flatten() {
            // One that has ended need not be told.
            let _ = peer.to.send(Frame::Failed(error.clone()));
        }
    }

    /// Replaces `values` by their sum over all ranks, which all have to call this with as many values. Every sum is
    /// added up in one order, so all ranks have the same bits afterwards.
    ///
    /// Each rank adds up one part of the values, in a ring: every value crosses a connection twice, whatever the number
    /// of ranks (Patarasuk and Yuan 2009).
    ///
    /// # Errors
    /// If a rank has failed or ended.
    pub fn all_reduce(&self, values: &mut [f32]) -> Result<(), LinkError> {
        let (rank, size, length) = (self.rank, self.size(), values.len());
        let part = |number: usize| -> Range<usize> {
            let number = number % size;
            length * number / size..length * (number + 1) / size
        };
        let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size);
        for round in 0..size - 1 {
            self.send_values(next, &values[part(rank + size - round)])?;
            let sum = &mut values[part(rank + size - round - 1)];
            let others = self.receive_values(previous, sum.len())?;
            for (value, other) in sum.iter_mut().zip(others) {
                *value += other;
            }
        }
        for round in 0..size - 1 {
            self.send_values(next, &values[part(rank + 1 + size - round)])?;
            let of_part = &mut values[part(rank + size - round)];
            let sums = self.receive_values(previous, of_part.len())?;
            of_part.copy_from_slice(&sums);
        }
        Ok(())
    }

    fn send_values(&self, to: usize, values: &[f32]) -> Result<(), LinkError> {
        self.send(to, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn receive_values(&self, from: usize, count: usize) -> Result<Vec<f32>, LinkError> {
        let message = self.receive(from)?;
        let (values, rest) = message.as_chunks();
        if values.len() != count || !rest.is_empty() {
            let reason = format!("sent {} bytes of a gradient instead of {}", message.len(), count * 4);
            return Err(LinkError::new(from, reason).with_hint(SAME_PROGRAM));
        }
        Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }
}

/// The hint for a message that makes no sense.
pub(crate) const SAME_PROGRAM: &str = "every rank has to run the same version of the program with the same model";

impl LinkError {
    /// Adds what the user can do.
    #[must_use]
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // First the ends of the channels, so that what carries their frames comes to its end, too.
        self.peers.clear();
        self.carriers = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of integers is exact, so every rank must have it to the bit; lengths that the ranks don't divide, too.
    #[test]
    fn every_rank_gets_the_sum() {
        for size in 1..=5 {
            for length in [0, 1, 2, 7, 64] {
                let links = Links::in_memory(size);
                let sums: Vec<Vec<f32>> = std::thread::scope(|scope| {
                    let one = |links: Links| {
                        let mut values: Vec<f32> = (0..length).map(|i| (i * 10 + links.rank()) as f32).collect();
                        links.all_reduce(&mut values).expect("all take part");
                        values
                    };
                    let threads: Vec<_> = links.into_iter().map(|links| scope.spawn(move || one(links))).collect();
                    threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
                });
                let wanted: Vec<f32> =
                    (0..length).map(|i| (0..size).map(|rank| (i * 10 + rank) as f32).sum()).collect();
                assert!(sums.iter().all(|sum| *sum == wanted), "{size} ranks, {length} values: {sums:?}");
            }
        }
    }

    #[test]
    fn a_rank_that_is_gone_is_an_error_with_its_reason() {
        let mut links = Links::in_memory(3).into_iter();
        let [zero, one, two] = [(); 3].map(|()| links.next().expect("three ranks"));
        one.send(0, vec![1]).expect("rank 0 is there");
        one.fail(&LinkError::new(1, "out of memory"));
        drop(one);
        assert_eq!(zero.receive(1), Ok(vec![1]), "what was sent before still arrives");
        assert_eq!(zero.receive(1), Err(LinkError::new(1, "out of memory")));
        // A message to it fails with the reason that it gave.
        assert_eq!(two.send(1, vec![2]), Err(LinkError::new(1, "out of memory")));
        drop(two);
        assert_eq!(
            zero.receive(2),
            Err(LinkError { lost: true, ..LinkError::new(2, "ended without giving a reason") })
        );
    }
}
