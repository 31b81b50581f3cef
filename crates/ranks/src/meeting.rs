//! How the processes of a run find each other.
//!
//! Rank 0 listens on any free port and writes where, with a new secret, into a file of a folder that all ranks see, as they
//! all see the run's data. The others read it and connect. So no address or port has to be configured, whatever started
//! the processes.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::handshake::{Key, accept, connect, hear, tell};
use crate::links::{Links, Peer};
use crate::place::Place;
use crate::tcp::Carriers;

/// The file in the folder.
const FILE: &str = "ranks.json";
/// The variable with the address or name under which other machines reach this one.
const HOST: &str = "TABPO_HOST";
/// How long ranks wait for each other.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a single answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Why the ranks did not meet.
#[derive(Debug, Error)]
pub enum MeetingError {
    /// Some ranks did not come.
    #[error("rank {} did not come within {} seconds", listed(ranks), PATIENCE.as_secs())]
    Missing {
        /// Their numbers.
        ranks: Vec<usize>,
    },
    /// Rank 0 could not be reached.
    #[error("rank {rank} on {host} found no rank 0 within {} seconds: {found}", PATIENCE.as_secs())]
    NoLead {
        /// This rank.
        rank: usize,
        /// The name of this machine.
        host: String,
        /// What was found instead.
        found: String,
    },
    /// A rank was started otherwise than rank 0.
    #[error("{0}")]
    Other(String),
    /// A file or the network cannot be used.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The user asked to stop.
    #[error("stopped while waiting for the other ranks")]
    Interrupted,
}

impl MeetingError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } | Self::NoLead { .. } => Some(
                "all ranks need the same configuration file and a run directory that all machines see; TABPO_HOST names \
                 the address of a machine where its name doesn't lead to it",
            ),
            Self::Other(_) => Some("start all ranks with the same program and the same command"),
            Self::Io { .. } | Self::Interrupted => None,
        }
    }
}

fn listed(ranks: &[usize]) -> String {
    ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What rank 0 writes for the others.
#[derive(Debug, Serialize, Deserialize)]
struct Invitation {
    host: String,
    addresses: Vec<String>,
    secret: Key,
}

/// What a rank says of itself to rank 0.
#[derive(Debug, Serialize, Deserialize)]
struct Introduction {
    rank: usize,
    size: usize,
    version: String,
    host: String,
    port: u16,
    processors: String,
}

/// Where a rank is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Whereabouts {
    host: String,
    addresses: Vec<String>,
    /// The processors that it may use, as the operating system lists them.
    processors: String,
}

/// The ranks of a run, connected with each other.
pub struct Meeting {
    /// The connections of this rank.
    pub links: Links,
    /// The name of every rank's machine.
    pub hosts: Vec<String>,
    /// The number of ranks that share this rank's processors, at least 1: launchers may give each rank its own.
    pub sharing: usize,
}

impl Meeting {
    /// Meets the other ranks through a file in `folder`, which is made if it does not exist and which all of them have to
    /// see. `version` is that of the program, which has to be the same everywhere. `stop` is asked whether to give up.
    pub fn meet(place: Place, folder: &Path, version: &str, stop: &dyn Fn() -> bool) -> Result<Self, MeetingError> {
        let attempt = Attempt { place, version, stop, limit: Instant::now() + PATIENCE };
        if place.rank == 0 { attempt.lead(folder) } else { attempt.join(folder) }
    }

    /// How many ranks of lower number are on this rank's machine, and how many are on it in all.
    pub fn on_this_machine(&self) -> (usize, usize) {
        let rank = self.links.rank();
        let here = |ranks: &[String]| ranks.iter().filter(|host| **host == self.hosts[rank]).count();
        (here(&self.hosts[..rank]), here(&self.hosts))
    }
}

struct Attempt<'a> {
    place: Place,
    version: &'a str,
    stop: &'a dyn Fn() -> bool,
    limit: Instant,
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> MeetingError {
    |source| MeetingError::Io { what: what.into(), source }
}

impl Attempt<'_> {
    /// Whether to look again, after a pause.
    fn again(&self) -> Result<bool, MeetingError> {
        if (self.stop)() {
            return Err(MeetingError::Interrupted);
        }
        std::thread::sleep(PAUSE);
        Ok(Instant::now() < self.limit)
    }

    fn listen(&self) -> Result<(TcpListener, u16), MeetingError> {
        let ip = if self.place.one_machine { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let listener = TcpListener::bind((ip, 0)).map_err(failed("cannot listen on the network"))?;
        listener.set_nonblocking(true).map_err(failed("cannot listen on the network"))?;
        let port = listener.local_addr().map_err(failed("cannot listen on the network"))?.port();
        Ok((listener, port))
    }

    /// Waits for the next connection that knows the secret; none if nobody comes in time.
    fn next(&self, listener: &TcpListener, secret: &Key) -> Result<Option<(TcpStream, SocketAddr)>, MeetingError> {
        loop {
            match listener.accept() {
                Ok((mut stream, address)) => {
                    // Somebody else who found the port, or a rank that gave up, is no reason to fail.
                    if patient(&stream).and_then(|()| accept(&mut stream, secret)).is_ok() {
                        return Ok(Some((stream, address)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.again()? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(failed("cannot accept a connection")(error)),
            }
        }
    }

    /// Rank 0: waits for all others, and tells each where the others are.
    fn lead(&self, folder: &Path) -> Result<Meeting, MeetingError> {
        let size = self.place.size;
        let (listener, port) = self.listen()?;
        let own = Whereabouts { host: host(), addresses: addresses(port), processors: processors() };
        let secret: Key = rand::random();
        let file = folder.join(FILE);
        let invitation = Invitation { host: own.host.clone(), addresses: own.addresses.clone(), secret };
        write_private(&file, &serde_json::to_vec(&invitation).expect("an invitation is plain data"))
            .map_err(failed(format!("cannot write {}", file.display())))?;
        let removed = Removed(file);
        let mut met: Vec<Option<(TcpStream, Whereabouts)>> = (1..size).map(|_| None).collect();
        while met.iter().any(Option::is_none) {
            let Some((mut stream, address)) = self.next(&listener, &secret)? else {
                let ranks = (1..size).filter(|rank| met[rank - 1].is_none()).collect();
                return Err(MeetingError::Missing { ranks });
            };
            let Ok(introduction) = hear::<Introduction>(&mut stream) else { continue };
            self.check(&introduction)?;
            let Introduction { rank, host, port, processors, .. } = introduction;
            // A rank on this machine is reached from others as this one is.
            let addresses = if address.ip().is_loopback() {
                own.addresses.iter().filter_map(|own| Some(format!("{}:{port}", own.rsplit_once(':')?.0))).collect()
            } else {
                vec![SocketAddr::new(address.ip(), port).to_string()]
            };
            met[rank - 1] = Some((stream, Whereabouts { host, addresses, processors }));
        }
        drop(removed);
        let met: Vec<(TcpStream, Whereabouts)> = met.into_iter().flatten().collect();
        let table: Vec<Whereabouts> = std::iter::once(own).chain(met.iter().map(|(_, at)| at.clone())).collect();
        let mut carriers = Carriers::new();
        let mut peers: Vec<Option<Peer>> = vec![None];
        for (rank, (mut stream, at)) in (1..).zip(met) {
            let peer = tell(&mut stream, &table).and_then(|()| carriers.carry(stream, rank, &at.host));
            peers.push(Some(peer.map_err(failed(format!("cannot talk to rank {rank} on {}", at.host)))?));
        }
        Ok(meeting(0, peers, carriers, table))
    }

    /// Whether a rank was started as this one.
    fn check(&self, other: &Introduction) -> Result<(), MeetingError> {
        let Introduction { rank, size, version, host, .. } = other;
        if *size != self.place.size || !(1..*size).contains(rank) {
            let text = format!("{host} came as rank {rank} of {size}, but rank 0 waits for {}", self.place.size);
            return Err(MeetingError::Other(text));
        }
        if version != self.version {
            let text = format!("rank {rank} on {host} is version {version}, but rank 0 is {}", self.version);
            return Err(MeetingError::Other(text));
        }
        Ok(())
    }

    /// Every other rank: finds rank 0, then those between, and waits for those above.
    fn join(&self, folder: &Path) -> Result<Meeting, MeetingError> {
        let Place { rank, size, .. } = self.place;
        let (listener, port) = self.listen()?;
        let own = host();
        let file = folder.join(FILE);
        let mut found = format!("there is no {}", file.display());
        let (mut first, invitation) = loop {
            if let Ok(text) = std::fs::read(&file)
                && let Ok(invitation) = serde_json::from_slice::<Invitation>(&text)
            {
                let Invitation { host, addresses, secret } = &invitation;
                match reach(&own, host, addresses, secret) {
                    Ok(stream) => break (stream, invitation),
                    // It may have been left by an earlier run, so it is read again.
                    Err(error) => found = format!("{host} ({}) can't be reached: {error}", addresses.join(", ")),
                }
            }
            if !self.again()? {
                return Err(MeetingError::NoLead { rank, host: own, found });
            }
        };
        let lost = |rank: usize| failed(format!("cannot talk to rank {rank}"));
        let introduction = Introduction {
            rank,
            size,
            version: self.version.to_owned(),
            host: own.clone(),
            port,
            processors: processors(),
        };
        tell(&mut first, &introduction).map_err(lost(0))?;
        // The others may take their time.
        first.set_read_timeout(Some(PATIENCE)).map_err(lost(0))?;
        let table: Vec<Whereabouts> = hear(&mut first).map_err(lost(0))?;
        let mut carriers = Carriers::new();
        let mut peers: Vec<Option<Peer>> = (0..size).map(|_| None).collect();
        peers[0] = Some(carriers.carry(first, 0, &table[0].host).map_err(lost(0))?);
        for other in 1..rank {
            let Whereabouts { host, addresses, .. } = &table[other];
            let peer = reach(&own, host, addresses, &invitation.secret).and_then(|mut stream| {
                tell(&mut stream, &rank)?;
                carriers.carry(stream, other, host)
            });
            peers[other] = Some(peer.map_err(failed(format!("cannot reach rank {other} on {host}")))?);
        }
        while let Some(missing) = (rank + 1..size).find(|&other| peers[other].is_none()) {
            let Some((mut stream, _)) = self.next(&listener, &invitation.secret)? else {
                return Err(MeetingError::Missing { ranks: vec![missing] });
            };
            match hear::<usize>(&mut stream) {
                Ok(other) if (rank + 1..size).contains(&other) => {
                    peers[other] = Some(carriers.carry(stream, other, &table[other].host).map_err(lost(other))?);
                }
                _ => {}
            }
        }
        Ok(meeting(rank, peers, carriers, table))
    }
}

fn meeting(rank: usize, peers: Vec<Option<Peer>>, carriers: Carriers, table: Vec<Whereabouts>) -> Meeting {
    let links = Links::new(rank, peers, Some(Box::new(carriers)));
    let own = &table[rank];
    let sharing = table.iter().filter(|at| (&at.host, &at.processors) == (&own.host, &own.processors)).count();
    Meeting { links, sharing, hosts: table.into_iter().map(|at| at.host).collect() }
}

/// Limits how long an answer may take.
fn patient(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))
}

/// Connects to a rank on `host`, which listens at one of `addresses`.
fn reach(own: &str, host: &str, addresses: &[String], secret: &Key) -> io::Result<TcpStream> {
    let port = addresses.iter().find_map(|address| address.rsplit_once(':')?.1.parse::<u16>().ok());
    let here = (own == host).then(|| port.map(|port| format!("127.0.0.1:{port}"))).flatten();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in here.iter().chain(addresses) {
        for address in address.to_socket_addrs().into_iter().flatten() {
            let stream = TcpStream::connect_timeout(&address, ANSWER).and_then(|mut stream| {
                patient(&stream)?;
                connect(&mut stream, secret)?;
                Ok(stream)
            });
            match stream {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// The name of this machine.
fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = named.or_else(|| {
        let output = std::process::Command::new("hostname").output().ok()?;
        String::from_utf8(output.stdout).ok()
    });
    named.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

/// The processors that this process may use, where the operating system lists them.
fn processors() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or_default().trim().to_owned()
}

/// The addresses under which other machines may reach a port of this one.
fn addresses(port: u16) -> Vec<String> {
    if let Some(host) = std::env::var(HOST).ok().filter(|host| !host.is_empty()) {
        return vec![format!("{host}:{port}")];
    }
    // That of the way to other networks; nothing is sent to find it.
    let outward = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    let outward = outward.ok().map(|address| address.ip()).filter(|ip: &IpAddr| !ip.is_unspecified());
    let mut found = vec![format!("{}:{port}", host())];
    found.extend(outward.map(|ip| SocketAddr::new(ip, port).to_string()));
    found
}

/// A file that is removed when this is dropped.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // A file that stays behind leads nobody anywhere.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("json.new");
    // One that was left keeps the rights that it has.
    let _ = std::fs::remove_file(&temporary);
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&temporary, path)
}
