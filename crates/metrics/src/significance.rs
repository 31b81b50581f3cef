//! Resampling documents, and correcting for many tests.
//!
//! The document is the unit of resampling: sentences of one document share its difficulties.

use rand::distr::Distribution;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Binomial;
use rayon::prelude::*;

use crate::table::CountTable;

/// How many resamples, from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// Bootstrap resamples, and random swaps of the randomisation test.
    pub resamples: u32,
    /// Where the randomness comes from.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 20_260_301 }
    }
}

/// Rows that at least this many documents share are drawn as one binomial number instead of
/// document by document.
const SHARED: u32 = 32;

/// The generator of one resample: its own stream, so that resamples can be drawn in any order and
/// by any number of threads.
fn stream(seed: u64, purpose: u64, resample: u32) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(purpose << 32 | u64::from(resample));
    generator
}

const BOOTSTRAP: u64 = 0;
const RANDOMISATION: u64 = 1;

/// Draws as many documents as there are, with replacement, as a weight for each different row.
struct Sampler {
    documents: u64,
    /// Rows shared by many documents, and by how many.
    shared: Vec<(u32, u32)>,
    /// The rows of all other documents.
    single: Vec<u32>,
}

impl Sampler {
    fn new(table: &CountTable) -> Self {
        let multiplicities = table.multiplicities();
        let heavy = |row: u32| multiplicities[row as usize] >= SHARED;
        let rows = 0..multiplicities.len() as u32;
        Self {
            documents: table.documents() as u64,
            shared: rows.filter(|&row| heavy(row)).map(|row| (row, multiplicities[row as usize])).collect(),
            single: (0..table.documents())
                .map(|document| table.row_number(document))
                .filter(|&row| !heavy(row))
                .collect(),
        }
    }

    /// A multinomial draw: the number of draws that fall on a row is binomial given the draws that
    /// fell on the rows before it, and draws are uniform over the documents that remain.
    fn draw(&self, generator: &mut impl Rng, weights: &mut [u32]) {
        weights.fill(0);
        let (mut draws, mut documents) = (self.documents, self.documents);
        for &(row, count) in &self.shared {
            let probability = f64::from(count) / documents as f64;
            let drawn = Binomial::new(draws, probability).expect("a share is a probability").sample(generator);
            weights[row as usize] = drawn as u32;
            draws -= drawn;
            documents -= u64::from(count);
        }
        if !self.single.is_empty() {
            for _ in 0..draws {
                weights[self.single[generator.random_range(0..self.single.len())] as usize] += 1;
            }
        }
    }
}

/// Adds up rows by weight.
fn weighted_sum(table: &CountTable, weights: &[u32], sum: &mut [u64]) {
    sum.fill(0);
    for (row, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
        for (sum, &value) in sum.iter_mut().zip(table.distinct_row(row)) {
            *sum += u64::from(weight) * u64::from(value);
        }
    }
}

/// Values of a statistic over bootstrap resamples of the documents: `[resample][value]`; NaN where a
/// resample has nothing to take a rate of.
///
/// `statistic` gets the summed row of a resample. The result does not depend on the number of
/// threads.
pub(crate) fn bootstrap(
    table: &CountTable,
    resampling: Resampling,
    statistic: impl Fn(&[u64]) -> Vec<f64> + Sync,
) -> Vec<Vec<f64>> {
    let sampler = Sampler::new(table);
    (0..resampling.resamples)
        .into_par_iter()
        .map_init(
            || (vec![0; table.distinct()], vec![0; table.columns()]),
            |(weights, sum), resample| {
                sampler.draw(&mut stream(resampling.seed, BOOTSTRAP, resample), weights);
                weighted_sum(table, weights, sum);
                statistic(sum)
            },
        )
        .collect()
}

/// p-values of the approximate randomisation test for every value of a statistic.
///
/// The row of each document in `table` is that of system A followed by that of system B. Each
/// round swaps the two for every document with probability 1/2; `statistic` is applied to the
/// summed rows of both systems. `p = (1 + #{|d*| >= |d|}) / (R + 1)`, two-sided. A round in which one
/// of the figures is a rate over nothing counts as one that is as extreme; where an observed figure is,
/// and without any round, there is no p-value.
pub(crate) fn randomisation(
    table: &CountTable,
    resampling: Resampling,
    statistic: impl Fn(&[u64]) -> Vec<f64> + Sync,
) -> Vec<Option<f64>> {
    let width = table.columns() / 2;
    let pooled = table.pooled();
    let observed = differences(&statistic, &pooled[..width], &pooled[width..]);
    // Documents on which the systems agree in every count cannot change anything.
    let multiplicities = table.multiplicities();
    let differing: Vec<(usize, u32)> = multiplicities
        .into_iter()
        .enumerate()
        .filter(|&(row, _)| {
            let row = table.distinct_row(row);
            row[..width] != row[width..]
        })
        .collect();
    let at_least = (0..resampling.resamples)
        .into_par_iter()
        .map(|round| {
            let mut generator = stream(resampling.seed, RANDOMISATION, round);
            let (mut first, mut second) = (pooled[..width].to_vec(), pooled[width..].to_vec());
            for &(row, count) in &differing {
                let swapped = u64::from(heads(count, &mut generator));
                let (a, b) = table.distinct_row(row).split_at(width);
                for column in 0..width {
                    let (a, b) = (swapped * u64::from(a[column]), swapped * u64::from(b[column]));
                    first[column] = first[column] + b - a;
                    second[column] = second[column] + a - b;
                }
            }
            let swapped = differences(&statistic, &first, &second);
            // Equal counts give equal figures; the slack covers the last bit of a subtraction.
            let as_extreme = |(d, s): (&f64, f64)| u64::from(s.is_nan() || s.abs() >= d.abs() - 1e-12);
            observed.iter().zip(swapped).map(as_extreme).collect::<Vec<_>>()
        })
        .reduce(
            || vec![0; observed.len()],
            |mut sum, round| {
                sum.iter_mut().zip(round).for_each(|(sum, hit)| *sum += hit);
                sum
            },
        );
    let rounds = f64::from(resampling.resamples);
    let p_value = |count: u64| (1.0 + count as f64) / (rounds + 1.0);
    at_least
        .into_iter()
        .zip(&observed)
        .map(|(count, observed)| (resampling.resamples > 0 && !observed.is_nan()).then(|| p_value(count)))
        .collect()
}

fn differences(statistic: impl Fn(&[u64]) -> Vec<f64>, a: &[u64], b: &[u64]) -> Vec<f64> {
    statistic(a).into_iter().zip(statistic(b)).map(|(a, b)| a - b).collect()
}

/// How many of `count` fair coins show heads.
fn heads(count: u32, generator: &mut impl Rng) -> u32 {
    if count <= 32 {
        return (u64::from(generator.next_u32()) & ((1 << count) - 1)).count_ones();
    }
    Binomial::new(u64::from(count), 0.5).expect("one half is a probability").sample(generator) as u32
}

/// The central 95 % of the values that are numbers: a percentile interval. None where there is no value.
pub(crate) fn percentile_interval(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.retain(|value| !value.is_nan());
    if values.is_empty() {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let tail = (values.len() as f64 * 0.025).floor() as usize;
    Some((values[tail], values[values.len() - 1 - tail]))
}

/// Holm's step-down correction over the tests that there are: adjusted p-values in the order given.
///
/// S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
pub(crate) fn holm(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut tests: Vec<(usize, f64)> =
        p_values.iter().enumerate().filter_map(|(index, p_value)| Some((index, (*p_value)?))).collect();
    tests.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let mut adjusted = vec![None; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &(index, p_value)) in tests.iter().enumerate() {
        let factor = (tests.len() - rank) as f64;
        largest = largest.max((factor * p_value).min(1.0));
        adjusted[index] = Some(largest);
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableBuilder;

    fn table(rows: impl Iterator<Item = Vec<u32>>) -> CountTable {
        let rows: Vec<_> = rows.collect();
        let mut builder = TableBuilder::new(rows[0].len());
        for row in &rows {
            builder.push(row);
        }
        builder.finish()
    }

    fn mean(row: &[u64]) -> Vec<f64> {
        vec![row[0] as f64 / row[1] as f64]
    }

    #[test]
    fn every_resample_has_as_many_documents() {
        // 40 documents share a row, 60 have their own.
        let table = table((0..100_u32).map(|index| vec![if index < 40 { 0 } else { index }, 1]));
        let sampler = Sampler::new(&table);
        assert_eq!((sampler.shared.len(), sampler.single.len()), (1, 60));
        let mut weights = vec![0; table.distinct()];
        for resample in 0..50 {
            sampler.draw(&mut stream(1, BOOTSTRAP, resample), &mut weights);
            assert_eq!(weights.iter().sum::<u32>(), 100);
        }
    }

    #[test]
    fn bootstrap_spread_is_that_of_the_mean() {
        // Shared rows and single rows: the standard error of a mean of n values is s / sqrt(n).
        for share_rows in [true, false] {
            let value = |index: u32| if share_rows { index % 2 } else { index };
            let n = 200_u32;
            let table = table((0..n).map(|index| vec![value(index), 1]));
            let resampling = Resampling { resamples: 4000, seed: 5 };
            let means: Vec<f64> = bootstrap(&table, resampling, mean).into_iter().map(|values| values[0]).collect();
            let center = (0..n).map(|index| f64::from(value(index))).sum::<f64>() / f64::from(n);
            let variance = (0..n).map(|index| (f64::from(value(index)) - center).powi(2)).sum::<f64>() / f64::from(n);
            let expected = (variance / f64::from(n)).sqrt();
            let average = means.iter().sum::<f64>() / 4000.0;
            let spread = (means.iter().map(|mean| (mean - average).powi(2)).sum::<f64>() / 4000.0).sqrt();
            assert!((average - center).abs() < 4.0 * expected / 4000_f64.sqrt(), "{average} {center}");
            assert!((spread / expected - 1.0).abs() < 0.06, "{spread} {expected}");
        }
    }

    #[test]
    fn results_do_not_depend_on_threads() {
        let table = table((0..80_u32).map(|index| vec![index * 7 % 13, 20, index * 5 % 11, 20]));
        let resampling = Resampling { resamples: 300, seed: 9 };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool");
            pool.install(|| (bootstrap(&table, resampling, mean), randomisation(&table, resampling, mean)))
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn randomisation_of_equal_systems_is_one_and_of_opposite_ones_small() {
        let resampling = Resampling { resamples: 2000, seed: 3 };
        let same = table((0..30_u32).map(|index| vec![index, 40, index, 40]));
        assert_eq!(randomisation(&same, resampling, mean), [Some(1.0)]);
        let apart = table((0..30_u32).map(|index| vec![20 + index % 3, 40, 10, 40]));
        assert!(randomisation(&apart, resampling, mean)[0].is_some_and(|p| p < 0.001));
        // Two documents, one difference each way at most: |d*| >= |d| in half of the rounds.
        let two = table([vec![1, 2, 0, 2], vec![1, 2, 0, 2]].into_iter());
        let p = randomisation(&two, resampling, mean)[0].expect("a test");
        assert!((p - 0.5).abs() < 0.05, "{p}");
    }

    #[test]
    fn holm_steps_down() {
        let adjusted = holm(&[Some(0.01), Some(0.04), None, Some(0.03), Some(0.005)]);
        let expected = [Some(0.03), Some(0.06), None, Some(0.06), Some(0.02)];
        let near = |(a, b): (&Option<f64>, Option<f64>)| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-12,
            (a, b) => *a == b,
        };
        assert!(adjusted.iter().zip(expected).all(near), "{adjusted:?}");
        assert_eq!(holm(&[Some(0.9), Some(0.8)]), [Some(1.0), Some(1.0)]);
        assert_eq!(holm(&[None]), [None]);
    }

    #[test]
    fn percentiles() {
        assert_eq!(percentile_interval((0..1000).map(f64::from).collect()), Some((25.0, 974.0)));
        assert_eq!(percentile_interval(vec![f64::NAN, 2.0, f64::NAN]), Some((2.0, 2.0)));
        assert_eq!(percentile_interval(vec![f64::NAN]), None);
    }

    #[test]
    fn a_rate_over_nothing_is_not_tested() {
        let rates = |row: &[u64]| vec![row[0] as f64 / row[1] as f64];
        let nothing = table((0..10_u32).map(|index| vec![index, 10, 0, 0]));
        assert_eq!(randomisation(&nothing, Resampling { resamples: 50, seed: 1 }, rates), [None]);
        let something = table((0..10_u32).map(|index| vec![index, 10, 1, 10]));
        assert_eq!(randomisation(&something, Resampling { resamples: 0, seed: 1 }, rates), [None]);
    }
}
