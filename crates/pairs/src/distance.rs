//! Edit distance between two answers.

/// The row of a diagonal that has not been reached: so low that it never wins.
const UNREACHED: isize = isize::MIN / 2;

/// The least number of insertions, deletions and substitutions that turn `from` into `to`
/// (Levenshtein distance), over tokens, characters or anything comparable.
///
/// Works along diagonals (Ukkonen 1985): O(n + d²) for distance `d`, so two answers that differ in
/// one place cost little more than a comparison.
pub(crate) fn edit_distance<T: PartialEq>(from: &[T], to: &[T]) -> usize {
    let prefix = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (from, to) = (&from[prefix..], &to[prefix..]);
    let suffix = from.iter().rev().zip(to.iter().rev()).take_while(|(a, b)| a == b).count();
    let (from, to) = (&from[..from.len() - suffix], &to[..to.len() - suffix]);
    let (rows, columns) = (from.len() as isize, to.len() as isize);
    if rows == 0 || columns == 0 {
        return rows.max(columns) as usize;
    }
    // furthest[k + offset]: the last row reached on diagonal k = column - row with the current number
    // of edits.
    let goal = columns - rows;
    let mut limit = 16;
    loop {
        let offset = limit + 1;
        let mut furthest = vec![UNREACHED; (2 * offset + 1) as usize];
        let mut next = furthest.clone();
        for edits in 0..=limit {
            for diagonal in (-edits).max(-rows)..=edits.min(columns) {
                let at = |k: isize| furthest[(k + offset) as usize];
                let mut row = if edits == 0 {
                    0
                } else {
                    let substituted = at(diagonal) + 1;
                    let deleted = at(diagonal + 1) + 1;
                    let inserted = at(diagonal - 1);
                    substituted.max(deleted).max(inserted).min(rows).min(columns - diagonal)
                };
                if row < 0 || row + diagonal < 0 {
                    next[(diagonal + offset) as usize] = UNREACHED;
                    continue;
                }
                while row < rows && row + diagonal < columns && from[row as usize] == to[(row + diagonal) as usize] {
                    row += 1;
                }
                next[(diagonal + offset) as usize] = row;
            }
            if goal.abs() <= edits && next[(goal + offset) as usize] == rows {
                return edits as usize;
            }
            std::mem::swap(&mut furthest, &mut next);
        }
        limit *= 4;
    }
}

/// [`edit_distance`] in characters.
pub(crate) fn character_distance(from: &str, to: &str) -> usize {
    if from.is_ascii() && to.is_ascii() {
        return edit_distance(from.as_bytes(), to.as_bytes());
    }
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    edit_distance(&from, &to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook recurrence over the full table.
    fn table_distance(from: &[u8], to: &[u8]) -> usize {
        let mut row: Vec<usize> = (0..=to.len()).collect();
        for (i, a) in from.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, b) in to.iter().enumerate() {
                let substituted = diagonal + usize::from(a != b);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
            }
        }
        row[to.len()]
    }

    proptest! {
        #[test]
        fn agrees_with_the_full_table(
            from in proptest::collection::vec(0u8..4, 0..60),
            to in proptest::collection::vec(0u8..4, 0..60),
        ) {
            prop_assert_eq!(edit_distance(&from, &to), table_distance(&from, &to));
        }
    }

    #[test]
    fn counts_characters_not_bytes() {
        assert_eq!(character_distance("Schrödinger", "Schrodinger"), 1);
        assert_eq!(character_distance("kitten", "sitting"), 3);
        assert_eq!(character_distance("", "abc"), 3);
    }
}
