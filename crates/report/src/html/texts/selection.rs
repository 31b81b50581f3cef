//! Which texts a page shows, where there are more than fit.

use std::collections::HashMap;

use crate::Texts;

/// Of every kind of error between every two labels of every system, at least this many cases are shown, if they fit.
const OF_EACH_KIND: usize = 3;

/// The positions of the texts to show, in order, so that their sizes stay within `budget`: all, if they fit; otherwise
/// first those that show a kind of error that has been shown fewer than [`OF_EACH_KIND`] times, as long as they take no more
/// than half of the budget, then others at equal distances. The same texts always give the same choice.
pub(super) fn select(texts: &Texts, sizes: &[usize], budget: usize) -> Vec<usize> {
    if sizes.iter().sum::<usize>() <= budget {
        return (0..sizes.len()).collect();
    }
    let mut chosen = vec![false; sizes.len()];
    let mut spent = 0;
    let mut shown: HashMap<(usize, u32, Option<u32>, Option<u32>), usize> = HashMap::new();
    for (position, case) in texts.cases.iter().enumerate() {
        let mut keys = Vec::new();
        for (system, &answer) in case.of_system.iter().enumerate() {
            let Some(answer) = case.answers.get(answer as usize) else { continue };
            for error in &answer.errors {
                let gold = texts.label(error.kind, &case.gold, error.gold);
                let predicted = texts.label(error.kind, &answer.annotations, error.predicted);
                keys.push((system, error.kind, gold, predicted));
            }
        }
        let rare = keys.iter().any(|key| shown.get(key).is_none_or(|&count| count < OF_EACH_KIND));
        if rare && spent + sizes[position] <= budget / 2 {
            chosen[position] = true;
            spent += sizes[position];
            for key in keys {
                *shown.entry(key).or_default() += 1;
            }
        }
    }
    let rest: Vec<usize> = (0..sizes.len()).filter(|&position| !chosen[position]).collect();
    let fits =
        |stride: &usize| rest.iter().step_by(*stride).map(|&position| sizes[position]).sum::<usize>() <= budget - spent;
    if let Some(stride) = (1..=rest.len()).find(fits) {
        rest.iter().step_by(stride).for_each(|&position| chosen[position] = true);
    }
    (0..sizes.len()).filter(|&position| chosen[position]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CaseKind, TextAnswer, TextCase, TextError};

    /// Texts without errors but for the one at `odd`.
    fn texts(count: usize, odd: usize) -> Texts {
        let case = |position| {
            let errors = if position == odd { vec![TextError::default()] } else { Vec::new() };
            let answers = vec![TextAnswer { errors, ..TextAnswer::default() }];
            TextCase { answers, of_system: vec![0], ..TextCase::default() }
        };
        let kinds = vec![CaseKind { name: "k".into(), ..CaseKind::default() }];
        Texts { kinds, cases: (0..count).map(case).collect(), ..Texts::default() }
    }

    #[test]
    fn everything_is_shown_where_it_fits() {
        assert_eq!(select(&texts(4, 1), &[10; 4], 40), [0, 1, 2, 3]);
    }

    #[test]
    fn a_rare_error_is_shown_and_the_rest_is_spread() {
        let sizes = [10; 100];
        let shown = select(&texts(100, 57), &sizes, 120);
        assert!(shown.contains(&57), "{shown:?}");
        assert!(shown.len() <= 12 && shown.len() > 8, "{shown:?}");
        assert!(shown.iter().any(|&position| position < 20) && shown.iter().any(|&position| position > 80));
        assert_eq!(shown, select(&texts(100, 57), &sizes, 120));
    }

    #[test]
    fn nothing_is_shown_where_nothing_fits() {
        assert!(select(&texts(3, 0), &[10; 3], 5).is_empty());
    }
}
