//! Reading a file of lines, many lines at a time.

use std::io::{self, Read};

use memchr::{memchr_iter, memrchr};

/// Splits what a reader gives into blocks of whole lines.
#[derive(Debug)]
pub struct LineBlocks<R> {
    source: R,
    /// The beginning of the line that the last block did not hold whole.
    rest: Vec<u8>,
    /// Number of the next line, counted from 1.
    number: usize,
    /// Where the next line starts.
    offset: u64,
    /// A failure to read, which comes after everything that was read.
    failure: Option<io::Error>,
}

/// Some lines that follow each other. Made to be filled again and again.
#[derive(Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
    /// Where each line ends in `bytes`.
    ends: Vec<usize>,
    number: usize,
    offset: u64,
}

/// One line of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number in the file, counted from 1.
    pub number: usize,
    /// The byte of the file where it starts.
    pub offset: u64,
    /// Its bytes, with the line's end if it has one.
    pub bytes: &'a [u8],
}

/// Reads up to `size` bytes behind those that there are, less only at the end of the source or when it
/// fails; says how many. In one step, where `read_to_end` takes many small ones.
pub fn read_more(source: &mut impl Read, bytes: &mut Vec<u8>, size: usize) -> io::Result<usize> {
    let start = bytes.len();
    bytes.resize(start + size, 0);
    let mut end = start;
    let mut failure = None;
    while end < bytes.len() {
        match source.read(&mut bytes[end..]) {
            Ok(0) => break,
            Ok(count) => end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    bytes.truncate(end);
    failure.map_or(Ok(end - start), Err)
}

impl<R: Read> LineBlocks<R> {
    /// At the start of a source.
    pub fn new(source: R) -> Self {
        Self { source, rest: Vec::new(), number: 1, offset: 0, failure: None }
    }

    /// Replaces `block` by the next lines, about `size` bytes (a longer line makes a longer block);
    /// without any at the end of the file.
    pub fn fill(&mut self, block: &mut Block, size: usize) -> io::Result<()> {
        block.bytes.clear();
        block.ends.clear();
        block.bytes.append(&mut self.rest);
        block.number = self.number;
        block.offset = self.offset;
        while block.ends.is_empty() && self.failure.is_none() {
            let start = block.bytes.len();
            match read_more(&mut self.source, &mut block.bytes, size) {
                Ok(0) => {
                    block.ends.extend((start > 0).then_some(start));
                    break;
                }
                Ok(_) => {}
                Err(failure) => self.failure = Some(failure),
            }
            if let Some(last) = memrchr(b'\n', &block.bytes[start..]) {
                self.rest.extend_from_slice(&block.bytes[start + last + 1..]);
                block.bytes.truncate(start + last + 1);
                block.ends.extend(memchr_iter(b'\n', &block.bytes).map(|newline| newline + 1));
            }
        }
        if let Some(failure) = self.failure.take_if(|_| block.ends.is_empty()) {
            return Err(failure);
        }
        self.number += block.ends.len();
        self.offset += block.bytes.len() as u64;
        Ok(())
    }
}

impl Block {
    /// Whether it has no lines.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The lines in order.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut start = 0;
        (self.number..).zip(&self.ends).map(move |(number, &end)| {
            let line = Line { number, offset: self.offset + start as u64, bytes: &self.bytes[start..end] };
            start = end;
            line
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, then fails if it is told to.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() && self.1 {
                return Err(io::Error::other("broken"));
            }
            let count = self.0.len().min(buffer.len()).min(3);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines(text: &str, size: usize, fails: bool) -> (Vec<(usize, u64, String)>, bool) {
        let mut blocks = LineBlocks::new(Slow(text.as_bytes(), fails));
        let mut block = Block::default();
        let mut found = Vec::new();
        loop {
            if blocks.fill(&mut block, size).is_err() {
                return (found, true);
            }
            if block.is_empty() {
                return (found, false);
            }
            found.extend(block.lines().map(|line| {
                (line.number, line.offset, String::from_utf8(line.bytes.to_vec()).expect("the test is UTF-8"))
            }));
        }
    }

    #[test]
    fn lines_come_whole_and_in_order() {
        let text = "one\n\na longer line than a block\nlast";
        let expected = [(1, 0, "one\n"), (2, 4, "\n"), (3, 5, "a longer line than a block\n"), (4, 32, "last")];
        let expected = expected.map(|(number, offset, line)| (number, offset, line.to_owned()));
        for size in [1, 2, 5, 100] {
            assert_eq!(lines(text, size, false), (expected.to_vec(), false), "blocks of {size}");
            // The last line may not be whole.
            assert_eq!(lines(text, size, true), (expected[..3].to_vec(), true), "blocks of {size}");
        }
        assert_eq!(lines("", 4, false), (Vec::new(), false));
    }
}
