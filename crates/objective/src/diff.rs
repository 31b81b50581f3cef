//! Which tokens of two completions differ.

/// Flags, for each completion, the tokens outside a longest common subsequence of the two.
///
/// The alignment is unique: equal heads are matched, which a longest common subsequence always
/// allows, and among equally long continuations the first one skips tokens of `chosen`. So the
/// shared prefix is never flagged, and an inserted record whose place is ambiguous (its last tokens
/// equal the tokens before it) is put as late as possible: the first flagged token is the divergence
/// point.
///
/// Time and memory grow with the product of the lengths that remain between the common prefix and
/// the common suffix, one byte per cell.
pub fn differs(chosen: &[u32], rejected: &[u32]) -> (Vec<bool>, Vec<bool>) {
    let prefix = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
    let (a, b) = (&chosen[prefix..], &rejected[prefix..]);
    let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - suffix], &b[..b.len() - suffix]);

    let mut flags = (vec![false; chosen.len()], vec![false; rejected.len()]);
    let steps = steps(a, b);
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        match steps[i * b.len() + j] {
            Step::Match => (i, j) = (i + 1, j + 1),
            Step::SkipChosen => {
                flags.0[prefix + i] = true;
                i += 1;
            }
            Step::SkipRejected => {
                flags.1[prefix + j] = true;
                j += 1;
            }
        }
    }
    flags.0[prefix + i..prefix + a.len()].fill(true);
    flags.1[prefix + j..prefix + b.len()].fill(true);
    flags
}

#[derive(Clone, Copy)]
enum Step {
    Match,
    SkipChosen,
    SkipRejected,
}

/// The best step from every pair of positions, row by row.
fn steps(a: &[u32], b: &[u32]) -> Vec<Step> {
    let mut steps = vec![Step::Match; a.len() * b.len()];
    // Lengths of the longest common subsequences of the tails a[i..] and b[j..].
    let mut below = vec![0_u32; b.len() + 1];
    let mut lengths = below.clone();
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            (lengths[j], steps[i * b.len() + j]) = if a[i] == b[j] {
                (below[j + 1] + 1, Step::Match)
            } else if below[j] >= lengths[j + 1] {
                (below[j], Step::SkipChosen)
            } else {
                (lengths[j + 1], Step::SkipRejected)
            };
        }
        std::mem::swap(&mut below, &mut lengths);
    }
    steps
}
