//! The kernel for AVX-512 vectors, and the rounding and transposing of operands.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_permutex2var_epi16, _mm512_permutexvar_epi16, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_i32x4, _mm512_storeu_ps, _mm512_storeu_si512,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::kernel::{Run, SIDE, STEP_LINES};
use super::layout::Line;

/// Lines of a tile, and elements of a vector of f32.
const TILE: usize = 16;

/// Whether the processor has the instructions used in this file.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// See [`super::kernel::Session::block`]: eight rows by two vectors of sums at a time.
///
/// # Safety
/// As there; the machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn block(runs: &[Run], target: *mut f32, stride: usize, accumulate: bool) {
    const GROUP: usize = 8;
    for first in (0..SIDE).step_by(GROUP) {
        let mut sums = [[_mm512_setzero_ps(); 2]; GROUP];
        if accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller guarantees 32 rows of 32 sums at `target`.
                unsafe {
                    let at = target.add((first + row) * stride);
                    *sums = [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(TILE))];
                }
            }
        }
        for run in runs {
            for step in 0..run.steps {
                // SAFETY: the caller guarantees that the panels have `STEP_LINES` lines per step.
                let (rows, columns) = unsafe {
                    let tile = step * STEP_LINES + first / TILE * TILE + first % TILE;
                    (run.rows.add(tile).cast::<i32>(), run.columns.add(step * STEP_LINES))
                };
                for pair in 0..TILE {
                    // SAFETY: a line is 64 bytes, 16 pairs; a step of columns has 32 lines.
                    unsafe {
                        let left = load(columns.add(pair));
                        let right = load(columns.add(TILE + pair));
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let x = as_pairs(_mm512_set1_epi32(rows.add(row * TILE + pair).read()));
                            sums[0] = _mm512_dpbf16_ps(sums[0], x, as_pairs(left));
                            sums[1] = _mm512_dpbf16_ps(sums[1], x, as_pairs(right));
                        }
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: as for loading.
            unsafe {
                let at = target.add((first + row) * stride);
                _mm512_storeu_ps(at, sums[0]);
                _mm512_storeu_ps(at.add(TILE), sums[1]);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(line: *const Line) -> __m512i {
    // SAFETY: the caller guarantees a valid line of 64 bytes.
    unsafe { _mm512_loadu_si512(line.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn as_pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both types are 512 bits without invalid values.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round(low: __m512, high: __m512) -> __m512i {
    let rounded = _mm512_cvtne2ps_pbh(high, low);
    // SAFETY: both types are 512 bits without invalid values.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(rounded) }
}

/// Up to 16 values, followed by zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn some(values: &[f32]) -> __m512 {
    let mask = if values.len() >= TILE { u16::MAX } else { (1 << values.len()) - 1 };
    // SAFETY: the mask selects only elements of the slice.
    unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(line: &mut Line, value: __m512i) {
    // SAFETY: a line is 64 bytes.
    unsafe { _mm512_storeu_si512((&raw mut *line).cast(), value) };
}

/// Rounds one row into a panel of rows: `row` is its index in the panel, `panel` the panel's lines.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn round_row(values: &[f32], row: usize, panel: &mut [Line]) {
    for (values, step) in values.chunks(SIDE).zip(panel.chunks_exact_mut(STEP_LINES)) {
        let (low, high) = values.split_at(values.len().min(TILE));
        store(&mut step[row], round(some(low), some(high)));
    }
}

/// Rounds up to 32 rows of weights into one panel of columns, depth along the rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn round_columns(rows: &[&[f32]], scale: f32, panel: &mut [Line]) {
    let scale = _mm512_set1_ps(scale);
    for (step, lines) in panel.chunks_exact_mut(STEP_LINES).enumerate() {
        for (tile, lines) in lines.chunks_exact_mut(TILE).enumerate() {
            let mut values = [_mm512_set1_epi32(0); TILE];
            for (value, row) in values.iter_mut().zip(rows.iter().skip(tile * TILE)) {
                let part = &row[row.len().min(step * SIDE)..row.len().min((step + 1) * SIDE)];
                let (low, high) = part.split_at(part.len().min(TILE));
                *value = round(_mm512_mul_ps(some(low), scale), _mm512_mul_ps(some(high), scale));
            }
            for (line, value) in lines.iter_mut().zip(transposed(&values)) {
                store(line, value);
            }
        }
    }
}

/// Rounds up to 32 elements of two rows into line `pair` of the two tiles of a step of columns, depth down
/// the rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn round_pair(even: &[f32], odd: &[f32], scale: f32, pair: usize, step: &mut [Line]) {
    let (scale, interleave) = (_mm512_set1_ps(scale), interleave());
    for tile in 0..2 {
        let part = |row: &[f32]| {
            let rest = &row[row.len().min(tile * TILE)..];
            _mm512_mul_ps(some(&rest[..rest.len().min(TILE)]), scale)
        };
        store(&mut step[tile * TILE + pair], _mm512_permutexvar_epi16(interleave, round(part(even), part(odd))));
    }
}

/// Words 0, 16, 1, 17, ...
#[inline]
#[target_feature(enable = "avx512f")]
fn interleave() -> __m512i {
    let words = Line(std::array::from_fn(|i| (i / 2 + i % 2 * TILE) as u16));
    // SAFETY: `words` is a valid line.
    unsafe { load(&raw const words) }
}

/// Transposes a block of 32 columns by 32 of depth of a packed matrix into 32 of depth by 32 columns.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn transpose(from: &[Line; STEP_LINES], to: &mut [Line; STEP_LINES]) {
    // Words 0, 2, 4, ... and 1, 3, 5, ... of two vectors.
    let select = |odd: u16| {
        let words = Line(std::array::from_fn(|i| 2 * i as u16 + odd));
        // SAFETY: `words` is a valid line.
        unsafe { load(&raw const words) }
    };
    let (even, odd) = (select(0), select(1));
    for (tile, to) in to.chunks_exact_mut(TILE).enumerate() {
        // Vector `i` holds the weights of input `16 tile + i`, in pairs of neighbouring outputs.
        let mut values = [_mm512_set1_epi32(0); TILE];
        for (half, values) in values.chunks_exact_mut(2).enumerate() {
            let pair = tile * TILE / 2 + half;
            // SAFETY: the references point to lines of the step.
            let (first, second) = unsafe { (load(&raw const from[pair]), load(&raw const from[TILE + pair])) };
            values[0] = _mm512_permutex2var_epi16(first, even, second);
            values[1] = _mm512_permutex2var_epi16(first, odd, second);
        }
        for (line, value) in to.iter_mut().zip(transposed(&values)) {
            store(line, value);
        }
    }
}

/// Transposes 16 by 16 words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: &[__m512i; TILE]) -> [__m512i; TILE] {
    // Within lanes of four: rows 4 g .. 4 g + 4 become columns.
    let mut lanes = *rows;
    for group in 0..4 {
        let r = &rows[4 * group..4 * group + 4];
        let (a, b) = (_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[0], r[1]));
        let (c, d) = (_mm512_unpacklo_epi32(r[2], r[3]), _mm512_unpackhi_epi32(r[2], r[3]));
        lanes[4 * group] = _mm512_unpacklo_epi64(a, c);
        lanes[4 * group + 1] = _mm512_unpackhi_epi64(a, c);
        lanes[4 * group + 2] = _mm512_unpacklo_epi64(b, d);
        lanes[4 * group + 3] = _mm512_unpackhi_epi64(b, d);
    }
    // Lane `l` of `lanes[4 g + c]` is rows 4 g .. 4 g + 4 of column 4 l + c: collect the lanes of a column.
    let mut columns = *rows;
    for c in 0..4 {
        let [p, q, r, s] = [lanes[c], lanes[4 + c], lanes[8 + c], lanes[12 + c]];
        let (low, high) = (_mm512_shuffle_i32x4::<0x44>(p, q), _mm512_shuffle_i32x4::<0xee>(p, q));
        let (low2, high2) = (_mm512_shuffle_i32x4::<0x44>(r, s), _mm512_shuffle_i32x4::<0xee>(r, s));
        columns[c] = _mm512_shuffle_i32x4::<0x88>(low, low2);
        columns[4 + c] = _mm512_shuffle_i32x4::<0xdd>(low, low2);
        columns[8 + c] = _mm512_shuffle_i32x4::<0x88>(high, high2);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(high, high2);
    }
    columns
}
