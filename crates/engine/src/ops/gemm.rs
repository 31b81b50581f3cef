//! Matrix products through the `gemm` crate.

use std::ops::Range;

use gemm::Parallelism;

use crate::real::Real;
use crate::view::{Bands, View, ViewMut, for_each_tile};

/// `target = a b` on the calling thread.
pub(crate) fn product<R: Real>(target: ViewMut<'_, R>, a: View<'_, R>, b: View<'_, R>) {
    call(target, false, R::ONE, a, b, Parallelism::None);
}

/// `target = a b`, split among all threads by the `gemm` crate itself.
pub(crate) fn whole_product<R: Real>(target: ViewMut<'_, R>, a: View<'_, R>, b: View<'_, R>) {
    call(target, false, R::ONE, a, b, Parallelism::Rayon(0));
}

/// `target = scale * a b` on the calling thread.
pub(crate) fn scaled_product<R: Real>(target: ViewMut<'_, R>, scale: R, a: View<'_, R>, b: View<'_, R>) {
    call(target, false, scale, a, b, Parallelism::None);
}

/// `target += scale * a b` on the calling thread.
pub(crate) fn add_product<R: Real>(target: ViewMut<'_, R>, scale: R, a: View<'_, R>, b: View<'_, R>) {
    call(target, true, scale, a, b, Parallelism::None);
}

fn call<R: Real>(
    mut target: ViewMut<'_, R>,
    accumulate: bool,
    scale: R,
    a: View<'_, R>,
    b: View<'_, R>,
    parallelism: Parallelism,
) {
    assert!(target.height() == a.height() && target.width() == b.width() && a.width() == b.height());
    // SAFETY: by construction every element of a view is valid at its pointer and strides, and the shapes
    // agree. The target is a unique borrow, so that it overlaps neither operand.
    unsafe {
        gemm::gemm(
            target.height(),
            target.width(),
            a.width(),
            target.as_mut_ptr(),
            1,
            target.row_stride() as isize,
            accumulate,
            a.as_ptr(),
            a.column_stride() as isize,
            a.row_stride() as isize,
            b.as_ptr(),
            b.column_stride() as isize,
            b.row_stride() as isize,
            R::ONE,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// How the target of a product is split into blocks.
///
/// The split depends only on the shape, so that a result does not depend on the number of threads. Columns are
/// split first, so that the weights, which `gemm` must pack, are packed once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// Rows of a block.
    height: usize,
    /// Columns of a block.
    width: usize,
    /// Number of blocks above each other.
    bands: usize,
}

impl Split {
    /// The split of a target `[height, width]` of a product with inner dimension `depth`.
    pub(crate) fn new(height: usize, width: usize, depth: usize) -> Self {
        /// Fewer multiply-adds are not worth another block.
        const SMALLEST: usize = 1 << 21;
        /// Enough blocks to keep a large machine busy.
        const MOST: usize = 48;
        /// Columns of a block: a multiple of the kernels' heights (16, 24, 32, 48). And rows: with fewer, packing
        /// the weights would take a noticeable share of the time.
        const COLUMNS: usize = 192;
        const ROWS: usize = 256;

        let blocks = (height * width * depth / SMALLEST).clamp(1, MOST);
        let columns = blocks.min(width.div_ceil(COLUMNS)).max(1);
        let bands = (blocks / columns).clamp(1, height.div_ceil(ROWS).max(1));
        let block_width = if columns == 1 { width } else { width.div_ceil(columns).next_multiple_of(48) };
        Self { height: height.div_ceil(bands), width: block_width, bands }
    }

    /// Whether several blocks have the same columns, and so the same weights.
    pub(crate) fn repeats_weights(&self) -> bool {
        self.bands > 1
    }

    /// Columns of whole blocks whose weights, with elements of `size` bytes, are widened at the same time.
    pub(crate) fn strip(&self, depth: usize, size: usize) -> usize {
        /// About the size of a third-level cache, and at least two blocks for every thread.
        const BYTES: usize = 16 << 20;
        const THREAD_BYTES: usize = 4 << 20;
        let bytes = BYTES.max(THREAD_BYTES * rayon::current_num_threads());
        (bytes / (depth * self.width * size).max(1)).max(1) * self.width
    }

    /// Calls `work(block, rows, columns)` for every block of a target, in parallel. The target is the one of the
    /// split, or whole blocks of its columns.
    pub(crate) fn for_each<R: Real>(
        self,
        target: ViewMut<'_, R>,
        work: impl Fn(ViewMut<'_, R>, Range<usize>, Range<usize>) + Sync,
    ) {
        if target.height() == 0 || target.width() == 0 {
            return;
        }
        for_each_tile([target], Bands::Every(self.height), [self.width], |[block], tile| {
            let start = tile.column * self.width;
            let end = start + block.width();
            work(block, tile.rows, start..end);
        });
    }
}

/// Splits the target of a product with inner dimension `depth` into blocks and calls
/// `work(block, rows, columns)` for each in parallel.
pub(crate) fn for_each_block<R: Real>(
    target: ViewMut<'_, R>,
    depth: usize,
    work: impl Fn(ViewMut<'_, R>, Range<usize>, Range<usize>) + Sync,
) {
    Split::new(target.height(), target.width(), depth).for_each(target, work);
}

/// `target = a b`, in parallel.
pub(crate) fn parallel_product<R: Real>(target: ViewMut<'_, R>, a: View<'_, R>, b: View<'_, R>) {
    for_each_block(target, a.width(), |block, rows, columns| product(block, a.rows(rows), b.columns(columns)));
}

/// `target += scale * a b`, in parallel.
pub(crate) fn parallel_add_product<R: Real>(target: ViewMut<'_, R>, scale: R, a: View<'_, R>, b: View<'_, R>) {
    for_each_block(target, a.width(), |block, rows, columns| {
        add_product(block, scale, a.rows(rows), b.columns(columns));
    });
}
