//! Why a server does not start.

use std::io;

use thiserror::Error;

/// A server that cannot be started.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Another program listens on the port.
    #[error("port {port} of 127.0.0.1 is taken by another program")]
    Taken {
        /// The port.
        port: u16,
    },
    /// The port is one that only administrators may use.
    #[error("port {port} of 127.0.0.1 may not be used without administrator rights")]
    Forbidden {
        /// The port.
        port: u16,
    },
    /// Anything else that the operating system refuses.
    #[error("cannot listen on 127.0.0.1")]
    Io(#[from] io::Error),
}

impl ServeError {
    /// What would help, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Taken { .. } => Some("leave --port out to take any free port"),
            Self::Forbidden { .. } => Some("choose a port of 1024 or above, or leave --port out to take any free port"),
            Self::Io(_) => None,
        }
    }

    /// The error of an attempt to listen on a port; 0 stands for any.
    pub(crate) fn listening(port: u16, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { port },
            io::ErrorKind::PermissionDenied if port != 0 => Self::Forbidden { port },
            _ => Self::Io(error),
        }
    }
}
