//! Sums of products, split into blocks for cache and threads.

use std::cell::RefCell;
use std::ops::Range;

use super::kernel::{Kernel, MOST_RUNS, Run, SIDE, STEP_LINES, Session};
use super::layout::{Columns, Line, Rows, fit};
use super::rounding::transpose;
use crate::view::{Bands, ViewMut, for_each_tile};

/// Rows per task: a transposed panel of weights is used for this many rows.
const ROWS: usize = 512;

/// Steps of depth after which sums are written to memory: a block of rows of this depth fits the second-level
/// cache.
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
    /// Whether the right operand is the transposed matrix: `dy W` with `columns` packed for `x W^T`.
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

    /// The panel of columns for some steps; a transposed panel is written to `scratch`.
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

/// Part of the depth of one term.
#[derive(Clone, Default)]
struct Piece {
    /// Index of the term.
    term: usize,
    steps: Range<usize>,
}

/// Splits the depth of all terms into lists of pieces with a total of at most [`STEPS`] steps.
fn pieces(terms: &[Term<'_>]) -> impl Iterator<Item = ([Piece; MOST_RUNS], usize)> {
    let (mut term, mut start) = (0, 0);
    std::iter::from_fn(move || {
        let mut list: [Piece; MOST_RUNS] = Default::default();
        let (mut count, mut left) = (0, STEPS);
        while count < MOST_RUNS && left > 0 && term < terms.len() {
            let steps = terms[term].rows.panels.steps();
            let end = steps.min(start + left);
            list[count] = Piece { term, steps: start..end };
            (count, left) = (count + 1, left - (end - start));
            (term, start) = if end == steps { (term + 1, 0) } else { (term, end) };
        }
        (count > 0).then_some((list, count))
    })
}

/// `target = sum of the terms`, in parallel. `finish(block, rows, columns)` is called for every block of the
/// target once its sums are complete, on the thread that computed them.
pub(crate) fn product(
    kernel: Kernel,
    terms: &[Term<'_>],
    target: ViewMut<'_, f32>,
    finish: impl Fn(&mut ViewMut<'_, f32>, Range<usize>, Range<usize>) + Sync,
) {
    /// The most columns of blocks, and the most panels per block.
    const TASKS: usize = 64;
    const PANELS: usize = 4;

    let (height, width) = (target.height(), target.width());
    assert!(
        !terms.is_empty() && terms.iter().all(|term| term.rows.panels.vectors() == height && term.width() == width)
    );
    assert!(terms.iter().all(|term| term.rows.panels.depth() > 0));
    if height == 0 || width == 0 {
        return;
    }
    let block = width.div_ceil(SIDE).div_ceil(TASKS).clamp(1, PANELS) * SIDE;
    for_each_tile([target], Bands::Every(ROWS), [block], |[mut target], tile| {
        let first = tile.column * block;
        let session = Session::new(kernel);
        TRANSPOSED.with_borrow_mut(|scratch| {
            for (group, (list, count)) in pieces(terms).enumerate() {
                for left in (0..target.width()).step_by(SIDE) {
                    let columns = panel_pointers(terms, &list[..count], (first + left) / SIDE, scratch);
                    for top in (0..target.height()).step_by(SIDE) {
                        let panel = (tile.rows.start + top) / SIDE;
                        let mut runs = [Run { rows: std::ptr::null(), columns: std::ptr::null(), steps: 0 }; MOST_RUNS];
                        for ((run, piece), columns) in runs.iter_mut().zip(&list[..count]).zip(columns) {
                            let lines = terms[piece.term].rows.panels.panel(panel);
                            let rows = lines[piece.steps.start * STEP_LINES..piece.steps.end * STEP_LINES].as_ptr();
                            *run = Run { rows, columns, steps: piece.steps.len() };
                        }
                        let rows = top..target.height().min(top + SIDE);
                        let columns = left..target.width().min(left + SIDE);
                        let block = target.reborrow().rows(rows).columns(columns);
                        one_block(&session, &runs[..count], block, group > 0);
                    }
                }
            }
        });
        drop(session);
        let columns = first..first + target.width();
        finish(&mut target, tile.rows, columns);
    });
}

/// The panels of columns of all pieces; transposed ones are written consecutively to `scratch`.
fn panel_pointers(
    terms: &[Term<'_>],
    list: &[Piece],
    panel: usize,
    scratch: &mut Vec<Line>,
) -> [*const Line; MOST_RUNS] {
    let transposed = list.iter().filter(|piece| terms[piece.term].transposed);
    let total: usize = transposed.map(|piece| piece.steps.len()).sum();
    let mut rest = fit(scratch, total * STEP_LINES);
    let mut pointers = [std::ptr::null(); MOST_RUNS];
    for (pointer, piece) in pointers.iter_mut().zip(list) {
        let term = &terms[piece.term];
        let length = if term.transposed { piece.steps.len() * STEP_LINES } else { 0 };
        let (part, tail) = rest.split_at_mut(length);
        *pointer = term.columns(panel, piece.steps.clone(), part);
        rest = tail;
    }
    pointers
}

/// Computes one block of at most 32 by 32 sums. `runs` come from [`product`].
fn one_block(session: &Session, runs: &[Run], mut target: ViewMut<'_, f32>, accumulate: bool) {
    let (height, width) = (target.height(), target.width());
    if (height, width) == (SIDE, SIDE) {
        let stride = target.row_stride();
        // SAFETY: the target is a unique borrow of 32 rows of 32 sums; the runs point to slices of
        // `STEP_LINES` lines per step, and none is empty.
        unsafe { session.block(runs, target.as_mut_ptr(), stride, accumulate) };
        return;
    }
    let mut sums = [0.0_f32; SIDE * SIDE];
    if accumulate {
        for (row, sums) in sums.chunks_exact_mut(SIDE).take(height).enumerate() {
            sums[..width].copy_from_slice(target.row_mut(row));
        }
    }
    // SAFETY: the block is this array; the runs are as above.
    unsafe { session.block(runs, sums.as_mut_ptr(), SIDE, accumulate) };
    for (row, sums) in sums.chunks_exact(SIDE).take(height).enumerate() {
        target.row_mut(row).copy_from_slice(&sums[..width]);
    }
}
