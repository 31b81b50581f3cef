//! Reading a file line by line, each line with its place in the file.

use std::io::{self, BufRead};

use crate::text::{utf8, without_mark};

/// The lines of a source, in order.
#[derive(Debug)]
pub struct NumberedLines<R> {
    source: R,
    /// The number of the next line.
    number: usize,
    /// Where the next line starts.
    offset: u64,
}

/// One line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedLine {
    /// Its number in the file, counted from 1.
    pub number: usize,
    /// The byte of the file where it starts.
    pub offset: u64,
    /// Its bytes, including the line break that ends it.
    pub bytes: Vec<u8>,
}

impl NumberedLine {
    /// The line as text, without a byte order mark and without the line break. A line that is not UTF-8 is
    /// an error as in [`read_text`](crate::read_text).
    pub fn text(&self) -> io::Result<&str> {
        let text = utf8(&self.bytes, self.number, self.offset)?;
        Ok(without_mark(text).trim_end_matches(['\n', '\r']))
    }
}

impl<R: BufRead> NumberedLines<R> {
    /// The lines from the start of a source on.
    pub fn new(source: R) -> Self {
        Self { source, number: 1, offset: 0 }
    }

    /// The next lines, until they add up to `size` bytes or more. Empty at the end of the source.
    pub fn chunk(&mut self, size: usize) -> io::Result<Vec<NumberedLine>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < size
            && let Some(line) = self.next().transpose()?
        {
            bytes += line.bytes.len();
            lines.push(line);
        }
        Ok(lines)
    }
}

impl<R: BufRead> Iterator for NumberedLines<R> {
    type Item = io::Result<NumberedLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        match self.source.read_until(b'\n', &mut bytes) {
            Ok(0) => None,
            Ok(length) => {
                let line = NumberedLine { number: self.number, offset: self.offset, bytes };
                self.number += 1;
                self.offset += length as u64;
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_in_order() {
        let text = "\u{feff}one\n\na longer line than a chunk\r\nlast";
        let expected = [(1, 0, "one"), (2, 7, ""), (3, 8, "a longer line than a chunk"), (4, 36, "last")];
        for size in [1, 4, 10, 100] {
            let mut lines = NumberedLines::new(text.as_bytes());
            let mut found = Vec::new();
            loop {
                let chunk = lines.chunk(size).expect("a slice can always be read");
                if chunk.is_empty() {
                    break;
                }
                found.extend(chunk);
            }
            let found: Vec<_> =
                found.iter().map(|line| (line.number, line.offset, line.text().expect("UTF-8"))).collect();
            assert_eq!(found, expected, "chunks of {size}");
        }
        let line = NumberedLines::new(&b"a\n\xff"[..]).nth(1).expect("two lines").expect("a read");
        let error = line.text().expect_err("not UTF-8").to_string();
        assert!(error.starts_with("line 2: the byte 0xff at offset 2"), "{error}");
    }
}
