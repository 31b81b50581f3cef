//! Sums of products, cut into blocks for cache and threads.

use std::cell::RefCell;
use std::ops::Range;

use super::kernel::{Kernel, MOST_RUNS, Run, SIDE, STEP_LINES, Session};
use super::layout::{Columns, Line, Rows, fit};
use super::rounding::transpose;
use crate::view::{Bands, ViewMut, for_each_tile};

/// Rows of a task's block: a transposed panel of weights serves so many rows.
const ROWS: usize = 512;

/// Steps of depth after which sums go to memory: a block of rows over so much depth stays in the second
/// level of the cache.
const STEPS: usize = 40;

thread_local! {
    /// Scratch for a transposed panel of weights.
    static TRANSPOSED: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// One product of a sum of products.
#[derive(Clone, Copy)]
pub(crate) struct Term<'a> {
    rows: &'a Rows,
    columns: &'a Columns,
    /// Whether the right operand is the transposed matrix: `dy W` where `columns` is packed for `x W^T`.
    transposed: bool,
}

impl<'a> Term<'a> {
    /// `rows * columns`
    pub(crate) fn new(rows: &'a Rows, columns: &'a Columns) -> Self {
        assert_eq!(rows.panels.depth(), columns.depth(), "the operands' depths agree");
        Self { rows, columns, transposed: false }
    }

    /// `rows * columns^T`
    pub(crate) fn transposed(rows: &'a Rows, columns: &'a Columns) -> Self {
        assert_eq!(rows.panels.depth(), columns.columns(), "the operands' depths agree");
        Self { rows, columns, transposed: true }
    }

    fn width(&self) -> usize {
        if self.transposed { self.columns.depth() } else { self.columns.columns() }
    }

    /// The panel of columns over some steps; a transposed one is written into `scratch`.
    fn columns(&self, panel: usize, steps: Range<usize>, scratch: &mut [Line]) -> *const Line {
        if !self.transposed {
            return self.columns.panels.panel(panel)[steps.start * STEP_LINES..steps.end * STEP_LINES].as_ptr();
        }
        for (step, to) in steps.zip(scratch.as_chunks_mut::<STEP_LINES>().0) {
            let from = &self.columns.panels.panel(step)[panel * STEP_LINES..].as_chunks::<STEP_LINES>().0[0];
            transpose(from, to);
        }
        scratch.as_ptr()
    }
}

/// A part of the depth of one term.
type Piece = (usize, Range<usize>);

/// Cuts the depth of all terms into lists of pieces of at most [`STEPS`] steps together.
fn pieces(terms: &[Term<'_>]) -> impl Iterator<Item = ([Piece; MOST_RUNS], usize)> {
    let mut at = (0, 0);
    std::iter::from_fn(move || {
        let mut list: [Piece; MOST_RUNS] = std::array::from_fn(|_| (0, 0..0));
        let (mut count, mut left) = (0, STEPS);
        while count < MOST_RUNS && left > 0 && at.0 < terms.len() {
            let steps = terms[at.0].rows.panels.steps();
            let end = steps.min(at.1 + left);
            list[count] = (at.0, at.1..end);
            (count, left) = (count + 1, left - (end - at.1));
            at = if end == steps { (at.0 + 1, 0) } else { (at.0, end) };
        }
        (count > 0).then_some((list, count))
    })
}

/// `target = sum of the terms`, in parallel; `finish(block, rows, columns)` is called for every block of
/// the target when its sums are complete, on the thread that computed them.
pub(crate) fn product(
    kernel: Kernel,
    terms: &[Term<'_>],
    target: ViewMut<'_, f32>,
    finish: impl Fn(&mut ViewMut<'_, f32>, Range<usize>, Range<usize>) + Sync,
) {
    /// Tasks are cut into at most so many columns of blocks, and blocks of at most so many panels.
    const TASKS: usize = 64;
    const PANELS: usize = 4;

    let (height, width) = (target.height, target.width);
    assert!(
        !terms.is_empty() && terms.iter().all(|term| term.rows.panels.vectors() == height && term.width() == width)
    );
    assert!(terms.iter().all(|term| term.rows.panels.depth() > 0));
    if height == 0 || width == 0 {
        return;
    }
    let block = width.div_ceil(SIDE).div_ceil(TASKS).clamp(1, PANELS) * SIDE;
    for_each_tile([target], Bands::Every(ROWS), [block], |[mut target], place| {
        let first = place.column * block;
        let session = Session::new(kernel);
        TRANSPOSED.with_borrow_mut(|scratch| {
            for (group, (list, count)) in pieces(terms).enumerate() {
                for left in (0..target.width).step_by(SIDE) {
                    let columns = panel_pointers(terms, &list[..count], (first + left) / SIDE, scratch);
                    for top in (0..target.height).step_by(SIDE) {
                        let panel = (place.rows.start + top) / SIDE;
                        let mut runs = [Run { rows: std::ptr::null(), columns: std::ptr::null(), steps: 0 }; MOST_RUNS];
                        for ((run, (term, steps)), columns) in runs.iter_mut().zip(&list[..count]).zip(columns) {
                            let rows = terms[*term].rows.panels.panel(panel)[steps.start * STEP_LINES..].as_ptr();
                            *run = Run { rows, columns, steps: steps.len() };
                        }
                        let size = (SIDE.min(target.height - top), SIDE.min(target.width - left));
                        one_block(&session, &runs[..count], &mut target, (top, left), size, group > 0);
                    }
                }
            }
        });
        drop(session);
        let columns = first..first + target.width;
        finish(&mut target, place.rows, columns);
    });
}

/// The panels of columns of all pieces; the transposed ones lie one behind the other in `scratch`.
fn panel_pointers(
    terms: &[Term<'_>],
    list: &[Piece],
    panel: usize,
    scratch: &mut Vec<Line>,
) -> [*const Line; MOST_RUNS] {
    let total: usize = list.iter().filter(|(term, _)| terms[*term].transposed).map(|(_, steps)| steps.len()).sum();
    let mut rest = fit(scratch, total * STEP_LINES);
    let mut pointers = [std::ptr::null(); MOST_RUNS];
    for (pointer, (term, steps)) in pointers.iter_mut().zip(list) {
        let length = if terms[*term].transposed { steps.len() * STEP_LINES } else { 0 };
        let (part, tail) = rest.split_at_mut(length);
        *pointer = terms[*term].columns(panel, steps.clone(), part);
        rest = tail;
    }
    pointers
}

/// One block of sums, which may be cut off at the right and at the bottom.
fn one_block(
    session: &Session,
    runs: &[Run],
    target: &mut ViewMut<'_, f32>,
    (top, left): (usize, usize),
    (height, width): (usize, usize),
    accumulate: bool,
) {
    if (height, width) == (SIDE, SIDE) {
        let stride = target.row_stride;
        let pointer = target.row_mut(top)[left..].as_mut_ptr();
        // SAFETY: 32 rows of 32 columns from here are within the target, which this task alone may touch;
        // the panels have the steps of the runs, whose slices were cut from them.
        unsafe { session.block(runs, pointer, stride, accumulate) };
        return;
    }
    let mut sums = [0.0_f32; SIDE * SIDE];
    if accumulate {
        for (row, sums) in sums.chunks_exact_mut(SIDE).take(height).enumerate() {
            sums[..width].copy_from_slice(&target.row_mut(top + row)[left..left + width]);
        }
    }
    // SAFETY: the block is this array; the panels as above.
    unsafe { session.block(runs, sums.as_mut_ptr(), SIDE, accumulate) };
    for (row, sums) in sums.chunks_exact(SIDE).take(height).enumerate() {
        target.row_mut(top + row)[left..left + width].copy_from_slice(&sums[..width]);
    }
}
