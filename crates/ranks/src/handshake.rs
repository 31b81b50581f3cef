//! The first words of a connection, by which both sides know that they belong to the same run.
//!
//! Each side sends random bytes and proves with them that it knows the run's secret, which never crosses the network
//! itself. What follows is neither encrypted nor signed: a cluster's own network is trusted with weights and texts, as
//! other ways of training on several machines do.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What every connection begins with, with the version of what follows.
const GREETING: &[u8; 16] = b"tabpo ranks 0001";
/// The most bytes of a message while ranks meet.
const LONGEST: u32 = 1 << 20;

/// A secret that all ranks of a run know, or random bytes.
pub(crate) type Key = [u8; 32];

fn proof(secret: &Key, side: &str, sent: [&Key; 2]) -> Key {
    let [connecting, accepting] = sent;
    let bytes = [side.as_bytes(), connecting, accepting].concat();
    *blake3::keyed_hash(secret, &bytes).as_bytes()
}

/// The side that connects. An error of the kind `PermissionDenied` means that the other side doesn't know the secret.
pub(crate) fn connect(stream: &mut TcpStream, secret: &Key) -> io::Result<()> {
    let own: Key = rand::random();
    stream.write_all(&[&GREETING[..], &own].concat())?;
    let (mut other, mut found) = ([0; 32], [0; 32]);
    stream.read_exact(&mut other)?;
    stream.read_exact(&mut found)?;
    check(found, proof(secret, "accepting", [&own, &other]))?;
    stream.write_all(&proof(secret, "connecting", [&own, &other]))
}

/// The side that was connected to.
pub(crate) fn accept(stream: &mut TcpStream, secret: &Key) -> io::Result<()> {
    let own: Key = rand::random();
    let (mut greeting, mut other, mut found) = ([0; 16], [0; 32], [0; 32]);
    stream.read_exact(&mut greeting)?;
    if greeting != *GREETING {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.read_exact(&mut other)?;
    stream.write_all(&[own, proof(secret, "accepting", [&other, &own])].concat())?;
    stream.read_exact(&mut found)?;
    check(found, proof(secret, "connecting", [&other, &own]))
}

/// Compares in constant time.
fn check(found: Key, wanted: Key) -> io::Result<()> {
    if blake3::Hash::from_bytes(found) == blake3::Hash::from_bytes(wanted) {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Sends a value, before frames are carried.
pub(crate) fn tell<T: Serialize>(stream: &mut TcpStream, value: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(value).expect("what ranks say of themselves is plain data");
    stream.write_all(&(bytes.len() as u32).to_le_bytes())?;
    stream.write_all(&bytes)
}

/// Receives a value.
pub(crate) fn hear<T: DeserializeOwned>(stream: &mut TcpStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn meet(one: Key, other: Key) -> [Option<io::ErrorKind>; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::scope(|scope| {
            let connecting = scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("somebody listens");
                connect(&mut stream, &one).err().map(|error| error.kind())
            });
            let (mut stream, _) = listener.accept().expect("somebody connects");
            let accepting = accept(&mut stream, &other).err().map(|error| error.kind());
            drop(stream);
            [connecting.join().expect("no panic"), accepting]
        })
    }

    #[test]
    fn only_those_who_know_the_secret_meet() {
        assert_eq!(meet([7; 32], [7; 32]), [None, None]);
        let [connecting, accepting] = meet([7; 32], [8; 32]);
        assert_eq!(connecting, Some(io::ErrorKind::PermissionDenied));
        assert!(accepting.is_some(), "the other side gives no proof");
    }
}
