//! Reading whole text files, whatever program wrote them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use memchr::memchr_iter;

/// The mark that some editors put at the start of a UTF-8 text.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// Most bytes that are read from a device: what gives more, as `/dev/zero` does, never ends.
const DEVICE_LIMIT: u64 = 64 << 20;

/// Reads a file, a pipe or a device to its end. A device that gives more than 64 MiB is an error.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !is_device(path) {
        return fs::read(path);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(DEVICE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DEVICE_LIMIT {
        let message = "it is a device and gave more than 64 MiB, so it may never end; pass a file or a pipe";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    let kind = fs::metadata(path).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
}

#[cfg(not(unix))]
fn is_device(_path: &Path) -> bool {
    false
}

/// Reads a text file and drops its byte order mark, if it has one. A file that is not UTF-8 is an error of the
/// kind [`io::ErrorKind::InvalidData`] that says where and what would help.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = read_text_with_mark(path)?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

/// As [`read_text`], but keeps the mark, for formats whose offsets count it.
pub fn read_text_with_mark(path: &Path) -> io::Result<String> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes).map_err(|error| not_utf8(error.as_bytes(), error.utf8_error().valid_up_to(), 1, 0))
}

/// A text without its byte order mark, if it has one.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// A part of a file as text; it begins at the byte `offset` of the file, in line `line` (counted from 1).
/// Fails as [`read_text`] does.
pub fn utf8(bytes: &[u8], line: usize, offset: u64) -> io::Result<&str> {
    str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to(), line, offset))
}

/// The error for bytes that are not UTF-8 from `at` on.
fn not_utf8(bytes: &[u8], at: usize, first_line: usize, offset: u64) -> io::Error {
    let wide = match bytes {
        _ if offset > 0 => None,
        [0xff, 0xfe, ..] | [_, 0, ..] => Some("UTF-16LE"),
        [0xfe, 0xff, ..] | [0, _, ..] => Some("UTF-16BE"),
        _ => None,
    };
    let message = match wide {
        Some(name) => format!("not UTF-8 but {name}; convert it with `iconv -f {name} -t utf-8`"),
        None => {
            let line = first_line + memchr_iter(b'\n', &bytes[..at]).count();
            let place = offset + at as u64;
            format!(
                "line {line}: the byte 0x{:02x} at offset {place} is not UTF-8; convert Latin-1 with \
                 `iconv -f latin1 -t utf-8` (from Windows: `-f cp1252`)",
                bytes[at]
            )
        }
    };
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        read_text(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn one_mark_at_the_start_is_dropped() {
        assert_eq!(read(b"\xef\xbb\xbfa\xef\xbb\xbf").unwrap(), "a\u{feff}");
        assert_eq!(read(b"\xef\xbb\xbf").unwrap(), "");
        assert_eq!(read("é".as_bytes()).unwrap(), "é");
        assert_eq!(without_mark("\u{feff}b"), "b");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_without_end_is_refused() {
        let error = read_bytes(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("may never end"), "{error}");
        assert_eq!(read_bytes(Path::new("/dev/null")).unwrap(), b"");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named_with_their_place_and_remedy() {
        let error = read(b"one\ntwo caf\xe9\n").unwrap_err();
        assert!(
            error.starts_with("line 2: the byte 0xe9 at offset 11 is not UTF-8; convert Latin-1 with `iconv -f latin1"),
            "{error}"
        );
        let error = read(b"\xff\xfeo\0k\0").unwrap_err();
        assert!(error.contains("UTF-16LE"), "{error}");
        let error = read(b"\xfe\xff\0o\0k").unwrap_err();
        assert!(error.contains("UTF-16BE"), "{error}");
        let error = utf8(b"d\xfcnn", 7, 300).unwrap_err().to_string();
        assert!(error.starts_with("line 7: the byte 0xfc at offset 301 "), "{error}");
    }
}
