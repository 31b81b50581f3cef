//! Ranks that meet over the network.

mod support;

use std::net::TcpListener;
use std::thread;

use support::{Recorder, bits, examples, policy, settings, trained};
use tabpo_engine::HostWorker;
use tabpo_ranks::{LinkError, Meeting, MeetingError, Place, Ranks, serve};
use tabpo_train::{ReferenceCache, Session, train};

fn place(rank: usize, size: usize) -> Place {
    Place { rank, size, one_machine: true }
}

/// Meets on several threads and does something with each meeting; the results by rank.
fn on_ranks<T: Send>(size: usize, work: impl Fn(Meeting) -> T + Sync) -> Vec<T> {
    let folder = tempfile::tempdir().expect("a folder");
    // What an earlier run left: another secret, and a port at which somebody else listens.
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("an address").port();
    let stale = format!(r#"{{"host": "elsewhere", "addresses": ["127.0.0.1:{port}"], "secret": {:?}}}"#, [1; 32]);
    std::fs::write(folder.path().join("ranks.json"), stale).expect("writable");
    drop(other);
    thread::scope(|scope| {
        let meet = |rank| {
            let (folder, work) = (folder.path(), &work);
            scope.spawn(move || work(Meeting::meet(place(rank, size), folder, "1", &|| false).expect("all come")))
        };
        // The last comes first.
        let threads: Vec<_> = (0..size).rev().map(meet).collect();
        let mut results: Vec<T> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        results.reverse();
        assert!(!folder.path().join("ranks.json").exists(), "the invitation is taken back");
        results
    })
}

/// Training over the network has the bits of training over memory.
#[test]
fn the_network_changes_nothing() {
    let (start, examples) = (policy(true), examples(13, true));
    let settings = settings("dpo", 90, 4);
    let (wanted, _) = trained(3, &start, &examples, &settings);
    let found = on_ranks(3, |meeting| {
        assert_eq!(meeting.on_this_machine(), (meeting.links.rank(), 3));
        let mut worker = HostWorker::new(start.clone());
        if meeting.links.rank() > 0 {
            serve(&mut worker, &meeting.links).expect("rank 0 ends the training");
        } else {
            let mut cache = ReferenceCache::in_memory();
            let session = Session::new("test", &mut cache, [0; 32]);
            let mut ranks = Ranks::new(&mut worker, &meeting.links);
            train(&mut ranks, &examples, &settings, session, &mut Recorder::default()).expect("a run");
        }
        bits(worker.policy())
    });
    assert!(found.iter().all(|found| *found == bits(&wanted[0])));
}

/// The reason of a rank that fails arrives, also where much is on its way to it; and one that is just gone is noticed.
#[test]
fn failures_arrive() {
    let found = on_ranks(3, |meeting| {
        let links = meeting.links;
        match links.rank() {
            0 => {
                for _ in 0..20 {
                    // It may have failed by then, which `receive` says below.
                    let _ = links.send(1, vec![0; 1 << 20]);
                }
                [links.receive(1), links.receive(2)].map(Result::err).into()
            }
            1 => {
                links.fail(&LinkError::new(1, "out of memory"));
                vec![links.receive(2).err()]
            }
            _ => vec![links.receive(1).err()],
        }
    });
    let lost = Some(LinkError::new(1, "out of memory"));
    assert_eq!((&found[0][0], &found[2][0]), (&lost, &lost));
    let gone = found[0][1].as_ref().expect("rank 2 ended");
    assert!(gone.rank == 2 && gone.reason.ends_with("ended without giving a reason"), "{gone}");
}

#[test]
fn ranks_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let meet = |place, version: &'static str| {
        let folder = folder.path().to_owned();
        thread::spawn(move || Meeting::meet(place, &folder, version, &|| false).err())
    };
    for (other, version, reason) in [
        (place(1, 3), "1", "came as rank 1 of 3, but rank 0 waits for 2"),
        (place(1, 2), "2", "is version 2, but rank 0 is 1"),
    ] {
        let (lead, joins) = (meet(place(0, 2), "1"), meet(other, version));
        let error = lead.join().expect("no panic").expect("they don't belong together");
        assert!(error.to_string().ends_with(reason) && error.hint().is_some(), "{error}");
        assert!(joins.join().expect("no panic").is_some());
    }
    let error = Meeting::meet(place(1, 2), folder.path(), "1", &|| true).err().expect("it is asked to stop");
    assert!(matches!(error, MeetingError::Interrupted));
}
