//! Strided views of matrices, through which operations share buffers between threads.

use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

/// A matrix with strides; a transposed view has its strides exchanged.
///
/// Invariant: every element `(row, column)` within `height` and `width` is borrowed for `'a` and lies at
/// `pointer + row * row_stride + column * column_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a, R> {
    pointer: *const R,
    height: usize,
    width: usize,
    row_stride: usize,
    column_stride: usize,
    elements: PhantomData<&'a [R]>,
}

// SAFETY: a view is a shared borrow of elements, and `&[R]` may be sent and shared when `R: Sync`.
unsafe impl<R: Sync> Send for View<'_, R> {}
// SAFETY: as above.
unsafe impl<R: Sync> Sync for View<'_, R> {}

impl<'a, R> View<'a, R> {
    /// A row-major matrix over the first `height * width` elements of a slice.
    pub(crate) fn new(values: &'a [R], height: usize, width: usize) -> Self {
        assert!(values.len() >= height * width, "{} elements for [{height}, {width}]", values.len());
        Self { pointer: values.as_ptr(), height, width, row_stride: width, column_stride: 1, elements: PhantomData }
    }

    /// Some of the rows.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.height);
        // `wrapping_add`, because the pointer of an empty range may lie past the buffer; it is never read.
        let pointer = self.pointer.wrapping_add(range.start * self.row_stride);
        Self { pointer, height: range.len(), ..self }
    }

    /// Some of the columns.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.width);
        let pointer = self.pointer.wrapping_add(range.start * self.column_stride);
        Self { pointer, width: range.len(), ..self }
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        Self {
            height: self.width,
            width: self.height,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// The same view of elements that are known to be of single precision.
    pub(crate) fn into_f32(self) -> View<'a, f32>
    where
        R: 'static,
    {
        assert_eq!(TypeId::of::<R>(), TypeId::of::<f32>(), "the elements are of single precision");
        let Self { pointer, height, width, row_stride, column_stride, .. } = self;
        View { pointer: pointer.cast(), height, width, row_stride, column_stride, elements: PhantomData }
    }

    /// Number of rows.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Elements from one row to the next.
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Elements from one column to the next.
    pub(crate) fn column_stride(&self) -> usize {
        self.column_stride
    }

    /// The first element, for reading elements within the view.
    pub(crate) fn as_ptr(&self) -> *const R {
        self.pointer
    }

    /// All elements of a view of whole, consecutive rows.
    pub(crate) fn all(&self) -> &'a [R] {
        assert!(self.column_stride == 1 && self.row_stride == self.width);
        // SAFETY: by the invariant all elements are valid and borrowed for `'a`, and they are contiguous.
        unsafe { std::slice::from_raw_parts(self.pointer, self.height * self.width) }
    }

    /// One row of a view with contiguous rows.
    pub(crate) fn row(&self, row: usize) -> &'a [R] {
        assert!(row < self.height && self.column_stride == 1);
        // SAFETY: by the invariant the row is `width` contiguous elements that are borrowed for `'a`.
        unsafe { std::slice::from_raw_parts(self.pointer.add(row * self.row_stride), self.width) }
    }
}

/// A mutable matrix with contiguous rows.
///
/// Invariant: every element `(row, column)` within `height` and `width` is exclusively borrowed for `'a` and lies at
/// `pointer + row * row_stride + column`.
#[derive(Debug)]
pub(crate) struct ViewMut<'a, R> {
    pointer: *mut R,
    height: usize,
    width: usize,
    row_stride: usize,
    elements: PhantomData<&'a mut [R]>,
}

// SAFETY: a mutable view has exclusive access to its elements, like `&mut [R]`, which is `Send` if `R: Send`.
unsafe impl<R: Send> Send for ViewMut<'_, R> {}
// SAFETY: outside this module a shared reference to a mutable view only reads elements; `for_each_tile` also
// derives mutable tiles from it, which are disjoint, and therefore requires `R: Send`.
unsafe impl<R: Sync> Sync for ViewMut<'_, R> {}

impl<'a, R> ViewMut<'a, R> {
    /// A row-major matrix over the first `height * width` elements of a slice.
    pub(crate) fn new(values: &'a mut [R], height: usize, width: usize) -> Self {
        assert!(values.len() >= height * width, "{} elements for [{height}, {width}]", values.len());
        Self { pointer: values.as_mut_ptr(), height, width, row_stride: width, elements: PhantomData }
    }

    /// The same view for a shorter lifetime.
    pub(crate) fn reborrow(&mut self) -> ViewMut<'_, R> {
        ViewMut { elements: PhantomData, ..*self }
    }

    /// The same view of elements that are known to be of single precision.
    pub(crate) fn into_f32(self) -> ViewMut<'a, f32>
    where
        R: 'static,
    {
        assert_eq!(TypeId::of::<R>(), TypeId::of::<f32>(), "the elements are of single precision");
        let Self { pointer, height, width, row_stride, .. } = self;
        ViewMut { pointer: pointer.cast(), height, width, row_stride, elements: PhantomData }
    }

    /// Some of the rows.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.height);
        let pointer = self.pointer.wrapping_add(range.start * self.row_stride);
        Self { pointer, height: range.len(), ..self }
    }

    /// Some of the columns.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.width);
        Self { pointer: self.pointer.wrapping_add(range.start), width: range.len(), ..self }
    }

    /// The first `count` rows and the others.
    pub(crate) fn split_rows(self, count: usize) -> (Self, Self) {
        // The invariant: both parts have elements of this view, and no element is in both.
        let rest = Self { elements: PhantomData, ..self };
        let height = self.height;
        (self.rows(0..count), rest.rows(count..height))
    }

    /// The first `count` columns and the others.
    pub(crate) fn split_columns(self, count: usize) -> (Self, Self) {
        // As for rows.
        let rest = Self { elements: PhantomData, ..self };
        let width = self.width;
        (self.columns(0..count), rest.columns(count..width))
    }

    /// Number of rows.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Elements from one row to the next.
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// The first element, for reading and writing elements within the view.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut R {
        self.pointer
    }

    /// One row.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [R] {
        assert!(row < self.height);
        // SAFETY: by the invariant the row is `width` contiguous elements that are exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(row * self.row_stride), self.width) }
    }
}

/// How a matrix is split into bands of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bands<'a> {
    /// Bands of this many rows; the last one may have fewer.
    Every(usize),
    /// Bands `bounds[i]..bounds[i + 1]`, with increasing bounds.
    At(&'a [usize]),
}

impl Bands<'_> {
    fn count(self, height: usize) -> usize {
        match self {
            Bands::Every(rows) => height.div_ceil(rows),
            Bands::At(bounds) => bounds.len().saturating_sub(1),
        }
    }

    fn rows(self, band: usize, height: usize) -> Range<usize> {
        match self {
            Bands::Every(rows) => band * rows..((band + 1) * rows).min(height),
            Bands::At(bounds) => bounds[band]..bounds[band + 1],
        }
    }
}

/// The position of a tile in its matrices.
#[derive(Clone, Debug)]
pub(crate) struct TilePosition {
    /// Index of the band.
    pub(crate) band: usize,
    /// Index of the tile in its band.
    pub(crate) column: usize,
    /// The band's rows.
    pub(crate) rows: Range<usize>,
}

/// Splits matrices into tiles, with the same bands of rows for all and `widths[i]` columns in matrix `i` (the last
/// tile of a band may be narrower), and calls `work` with the tiles of all matrices at the same position, in
/// parallel over the positions.
///
/// # Panics
/// If the bands exceed a matrix, or if the matrices have different numbers of tile columns.
#[expect(clippy::needless_pass_by_value, reason = "mutable views are passed like a `&mut`")]
pub(crate) fn for_each_tile<R: Send + Sync, const N: usize>(
    matrices: [ViewMut<'_, R>; N],
    bands: Bands<'_>,
    widths: [usize; N],
    work: impl Fn([ViewMut<'_, R>; N], TilePosition) + Sync,
) {
    let height = matrices[0].height;
    let columns = matrices[0].width.div_ceil(widths[0]);
    for (matrix, width) in matrices.iter().zip(widths) {
        assert_eq!(matrix.height, height, "the matrices have the same rows");
        assert_eq!(matrix.width.div_ceil(width), columns, "the matrices have the same tile columns");
    }
    if let Bands::At(bounds) = bands {
        assert!(bounds.is_sorted() && bounds.last().is_none_or(|&end| end <= height));
    }
    let tile = |index: usize| {
        let (band, column) = (index / columns, index % columns);
        let rows = bands.rows(band, height);
        let tiles = std::array::from_fn(|i| {
            let (matrix, width) = (&matrices[i], widths[i]);
            let start = column * width;
            // The invariant of `ViewMut`: tiles at different positions are disjoint, because bands and columns
            // do not overlap, and each position is visited once. The elements stay exclusively borrowed,
            // because `matrices` is owned by this call and not used otherwise.
            ViewMut {
                pointer: matrix.pointer.wrapping_add(rows.start * matrix.row_stride + start),
                height: rows.len(),
                width: width.min(matrix.width - start),
                row_stride: matrix.row_stride,
                elements: PhantomData,
            }
        });
        work(tiles, TilePosition { band, column, rows });
    };
    let count = bands.count(height) * columns;
    if count == 1 {
        tile(0);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(tile);
    }
}
