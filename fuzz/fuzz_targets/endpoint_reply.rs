//! Replies of endpoints: a line with the status and, if it likes, the value of `Retry-After`, then the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tabpo_remote::fuzzing::{KEY, read_reply};

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (head, body) = (String::from_utf8_lossy(&bytes[..end]), bytes.get(end + 1..).unwrap_or_default());
    let (status, after) = head.split_once(' ').unwrap_or((&head, ""));
    let headers = [("retry-after", after), ("location", after), ("x-should-retry", after)];
    let told = read_reply(status.parse().unwrap_or(200), &headers, body, "A drill by the lathe.");
    assert!(!told.contains(KEY), "{told}");
});
