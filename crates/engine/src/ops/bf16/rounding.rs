//! Rounding and transposing of operands, with vector instructions if the machine has them.

use super::kernel::STEP_LINES;
use super::layout::Line;
use super::portable;

/// A function of [`portable`], or its equivalent for AVX-512 if that is available.
macro_rules! dispatch {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        pub(super) fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
if super::avx512::is_available() {
// SAFETY: the machine has the instructions, as just checked.
                return unsafe { super::avx512::$name($($argument),*) };
            }
            portable::$name($($argument),*);
        }
    )*};
}

dispatch! {
/// Rounds one row into a panel of rows: `row` is its index in the panel.
    round_row(values: &[f32], row: usize, panel: &mut [Line]);
    /// Rounds `scale` times up to 32 rows of weights into one panel of columns, depth along the rows.
    round_columns(rows: &[&[f32]], scale: f32, panel: &mut [Line]);
    /// Rounds `scale` times up to 32 elements of two rows into line `pair` of the two tiles of a step of columns,
    /// depth down the rows.
    round_pair(even: &[f32], odd: &[f32], scale: f32, pair: usize, step: &mut [Line]);
    /// Transposes a block of 32 columns by 32 of depth of a packed matrix.
    transpose(from: &[Line; STEP_LINES], to: &mut [Line; STEP_LINES]);
}
