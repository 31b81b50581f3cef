//! Frames over a TCP connection.
//!
//! On the wire a frame is its kind (a byte), the length of its content (eight bytes, little-endian) and the content. An
//! empty frame goes out whenever nothing else does for a while, so that a silent connection means a dead machine.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::links::{Frame, LinkError, Peer, SAME_PROGRAM};

/// How often an idle connection shows that it is alive.
const ALIVE: Duration = Duration::from_secs(10);
/// After how long a silent connection counts as lost.
const SILENT: Duration = Duration::from_secs(120);
/// How long the end of a connection waits for the other side's.
const GOODBYE: Duration = Duration::from_secs(2);

/// The kinds of frames.
const IDLE: u8 = 0;
const DATA: u8 = 1;
const FAILED: u8 = 2;

/// The hint for a rank that has vanished.
const VANISHED: &str = "its own output or its machine's log may say why; often the memory was not enough";

/// Connections that carry frames until they are dropped.
pub(crate) struct Carriers(Vec<Carrier>);

struct Carrier {
    stream: TcpStream,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
}

impl Carriers {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Carries the frames to and from a rank on the machine `host`.
    pub(crate) fn carry(&mut self, stream: TcpStream, rank: usize, host: &str) -> io::Result<Peer> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENT))?;
        stream.set_write_timeout(Some(SILENT))?;
        let ((to, outgoing), (incoming, from)) = (channel(), channel());
        let mut out = stream.try_clone()?;
        let writer = std::thread::spawn(move || {
            // That the connection is lost, the reader says.
            let _ = write_all(&mut out, &outgoing);
            let _ = out.shutdown(Shutdown::Write);
        });
        let (mut source, host) = (stream.try_clone()?, host.to_owned());
        let reader = std::thread::spawn(move || {
            let last = loop {
                match read(&mut source) {
                    // Where nobody listens any more, the rest is read all the same: a connection that is closed over
                    // unread data takes back what is on its way to the other side.
                    Ok(Some(frame)) => drop(incoming.send(frame)),
                    Ok(None) => {}
                    Err(error) => break lost(rank, &host, &error),
                }
            };
            let _ = incoming.send(Frame::Failed(last));
        });
        self.0.push(Carrier { stream, writer, reader });
        Ok(Peer { to, from: Mutex::new(from) })
    }
}

impl Drop for Carriers {
    fn drop(&mut self) {
        let limit = Instant::now() + GOODBYE;
        for Carrier { stream, writer, reader } in self.0.drain(..) {
            // What was sent goes out first. The channel has ended, so the writer comes to its end.
            let _ = writer.join();
            while !reader.is_finished() && Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = stream.shutdown(Shutdown::Both);
            let _ = reader.join();
        }
    }
}

/// The error about a connection that has ended.
fn lost(rank: usize, host: &str, error: &io::Error) -> LinkError {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            format!("the process on {host} ended without giving a reason")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("nothing has been heard from {host} for {} seconds", SILENT.as_secs())
        }
        io::ErrorKind::InvalidData => {
            return LinkError::new(rank, format!("{host} sent what is no message")).with_hint(SAME_PROGRAM);
        }
        _ => format!("the connection to {host} failed: {error}"),
    };
    LinkError { lost: true, ..LinkError::new(rank, reason).with_hint(VANISHED) }
}

/// Writes frames until the channel ends.
fn write_all(out: &mut TcpStream, frames: &Receiver<Frame>) -> io::Result<()> {
    loop {
        match frames.recv_timeout(ALIVE) {
            Ok(Frame::Data(message)) => write(out, DATA, &message)?,
            Ok(Frame::Failed(error)) => {
                write(out, FAILED, &postcard::to_stdvec(&error).expect("an error is plain data"))?;
            }
            Err(RecvTimeoutError::Timeout) => write(out, IDLE, &[])?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn write(out: &mut TcpStream, kind: u8, content: &[u8]) -> io::Result<()> {
    let mut head = [kind; 9];
    head[1..].copy_from_slice(&(content.len() as u64).to_le_bytes());
    out.write_all(&head)?;
    out.write_all(content)
}

/// Reads a frame; none if it only says that the other side is alive.
fn read(source: &mut TcpStream) -> io::Result<Option<Frame>> {
    let mut head = [0; 9];
    source.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u64::from_le_bytes(length);
    let mut content = Vec::new();
    // Memory grows with what arrives, not with what a damaged length says.
    if source.take(length).read_to_end(&mut content)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match kind {
        IDLE => Ok(None),
        DATA => Ok(Some(Frame::Data(content))),
        FAILED => postcard::from_bytes(&content)
            .map(|error| Some(Frame::Failed(error)))
            .map_err(|_| io::ErrorKind::InvalidData.into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
