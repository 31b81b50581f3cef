//! Why a file is not written although the system would let us.

use std::io::{Error, ErrorKind};

/// Why a path cannot be written. Comes inside the [`std::io::Error`] that a writer returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefusal {
    /// Another process, or another part of this one, is writing the same file.
    #[error("another process is writing it")]
    Busy,
    /// A folder stands where a file should be.
    #[error("it is a folder, not a file")]
    Folder,
    /// Something other than a folder stands where a folder should be.
    #[error("it is not a folder, and the output is a folder of files")]
    NoFolder,
    /// Standard output was named, where a folder is written.
    #[error("a folder of files cannot go to standard output")]
    FolderToOutput,
    /// The path ends without a file name.
    #[error("it does not name a file")]
    Nameless,
    /// Links that point to each other.
    #[error("it is a symbolic link that leads back to itself")]
    EndlessLink,
    /// The reader of standard output went away (`tabpo ... | head`).
    #[error("the reader of standard output is gone")]
    ClosedOutput,
}

impl WriteRefusal {
    /// What the user can do about it; `None` where nothing went wrong on their side.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::Busy => Some("wait until it is done, or write to another file"),
            Self::Folder | Self::Nameless => Some("name a file, or `-` for standard output"),
            Self::NoFolder => Some("name a folder, or remove the file"),
            Self::FolderToOutput => Some("name a folder"),
            Self::EndlessLink => Some("remove the link, or write to another file"),
            Self::ClosedOutput => None,
        }
    }

    /// The refusal inside an error of the system, if there is one.
    pub fn within(error: &Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<WriteRefusal> for Error {
    fn from(refusal: WriteRefusal) -> Self {
        let kind = match refusal {
            WriteRefusal::Busy => ErrorKind::ResourceBusy,
            WriteRefusal::Folder | WriteRefusal::FolderToOutput => ErrorKind::IsADirectory,
            WriteRefusal::NoFolder => ErrorKind::NotADirectory,
            WriteRefusal::Nameless | WriteRefusal::EndlessLink => ErrorKind::InvalidInput,
            WriteRefusal::ClosedOutput => ErrorKind::BrokenPipe,
        };
        Error::new(kind, refusal)
    }
}
