//! Stands in for the vectors on machines that have no kernel; nothing here is ever called.

use super::kernel::STEP_LINES;
use super::layout::Line;

pub(super) fn is_there() -> bool {
    false
}

pub(super) unsafe fn round_row(_: &[f32], _: usize, _: &mut [Line]) {
    unreachable!("no kernel is there");
}

pub(super) unsafe fn round_columns(_: &[&[f32]], _: f32, _: &mut [Line]) {
    unreachable!("no kernel is there");
}

pub(super) unsafe fn round_pair(_: &[f32], _: &[f32], _: f32, _: usize, _: &mut [Line]) {
    unreachable!("no kernel is there");
}

pub(super) unsafe fn turn(_: &[Line; STEP_LINES], _: &mut [Line; STEP_LINES]) {
    unreachable!("no kernel is there");
}
