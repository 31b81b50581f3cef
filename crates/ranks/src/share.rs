//! Sharing jobs out among ranks, evened by rows.
//!
//! As many jobs as give every rank the same number stay whole. The others, and all of them where there are fewer jobs than
//! ranks, are cut between examples: what examples have in common, such as the instructions of their prompts, is computed
//! in every part.

use std::cmp::Reverse;
use std::ops::Range;

use tabpo_engine::{Batch, Job, Segment, Target};

use crate::message::Task;

/// A job or a part of one, computed by one rank.
#[derive(Debug)]
pub(crate) struct Part {
    /// The number of the job.
    pub(crate) job: usize,
    /// The rank that computes it. A rank has at most one part of a job.
    pub(crate) rank: usize,
    /// The pass.
    pub(crate) task: Task,
    /// For every target of the pass its place among the targets of the job.
    pub(crate) targets: Vec<usize>,
}

/// Shares jobs out among `ranks`.
///
/// Every rank can compute its parts in their order here: a part of a cut job waits for the other parts of the job, and
/// all ranks come to the cut jobs in the same order.
pub(crate) fn share(jobs: &[Job<'_>], ranks: usize) -> Vec<Part> {
    let rows = |number: &usize| jobs[*number].batch.tokens.len();
    let mut by_size: Vec<usize> = (0..jobs.len()).collect();
    by_size.sort_by_key(|number| Reverse(rows(number)));
    let cut = by_size.split_off(jobs.len() / ranks * ranks);
    let mut loads = vec![0; ranks];
    let mut whole: Vec<Part> = by_size
        .into_iter()
        .map(|number| {
            let Job { batch, targets, dropout_seed } = jobs[number];
            let rank = least(&loads);
            loads[rank] += rows(&number);
            let task = Task { batch: batch.clone(), targets: targets.to_vec(), dropout_seed };
            Part { job: number, rank, task, targets: (0..targets.len()).collect() }
        })
        .collect();
    whole.sort_by_key(|part| part.job);
    let mut cut = cut;
    cut.sort_unstable();
    let parts = cut.into_iter().flat_map(|number| cut_between_examples(number, &jobs[number], &mut loads));
    whole.into_iter().chain(parts).collect()
}

/// The rank with the least work so far, the lowest among equals.
fn least(loads: &[usize]) -> usize {
    (0..loads.len()).min_by_key(|&rank| loads[rank]).expect("there is a rank")
}

/// The parts of a job, at most one a rank.
fn cut_between_examples(number: usize, job: &Job<'_>, loads: &mut [usize]) -> Vec<Part> {
    let mut examples = examples(job);
    examples.sort_by_key(|example| Reverse(example.rows));
    let mut segments_of: Vec<Vec<usize>> = vec![Vec::new(); loads.len()];
    for Example { segments, rows } in examples {
        let rank = least(loads);
        loads[rank] += rows;
        segments_of[rank].extend(segments);
    }
    let of_rank = segments_of.into_iter().enumerate().filter(|(_, segments)| !segments.is_empty());
    of_rank
        .map(|(rank, segments)| {
            let (task, targets) = restricted(job, &segments);
            Part { job: number, rank, task, targets }
        })
        .collect()
}

/// Segments of a job that belong together.
#[derive(Debug)]
struct Example {
    segments: Vec<usize>,
    /// Rows that no other example has.
    rows: usize,
}

/// The examples of a job: segments that go on from a row with a target, which is inside of an answer, belong to the
/// example of that row.
fn examples(job: &Job<'_>) -> Vec<Example> {
    let Job { batch, targets, .. } = job;
    let mut predicts = vec![false; batch.tokens.len()];
    for target in *targets {
        predicts[target.row as usize] = true;
    }
    let mut shared = vec![false; batch.tokens.len()];
    let mut example_of_row = vec![0; batch.tokens.len()];
    let mut examples: Vec<Example> = Vec::new();
    for (index, segment) in batch.segments.iter().enumerate() {
        let parent = segment.context.last().and_then(|range| range.clone().last());
        let example = match parent.filter(|&row| predicts[row]) {
            Some(row) => example_of_row[row],
            None => {
                segment.context.iter().flat_map(Range::clone).for_each(|row| shared[row] = true);
                examples.push(Example { segments: Vec::new(), rows: 0 });
                examples.len() - 1
            }
        };
        examples[example].segments.push(index);
        example_of_row[segment.rows.clone()].fill(example);
    }
    for (&example, _) in example_of_row.iter().zip(&shared).filter(|(_, shared)| !**shared) {
        examples[example].rows += 1;
    }
    examples
}

/// The pass over some segments of a job and what they depend on, with the targets of these segments, and their places
/// among those of the job.
fn restricted(job: &Job<'_>, segments: &[usize]) -> (Task, Vec<usize>) {
    let Job { batch, targets, dropout_seed } = *job;
    let mut owned = vec![false; batch.tokens.len()];
    let mut needed = vec![false; batch.tokens.len()];
    for segment in segments.iter().map(|&index| &batch.segments[index]) {
        owned[segment.rows.clone()].fill(true);
        for rows in segment.context.iter().chain([&segment.rows]) {
            needed[rows.clone()].fill(true);
        }
    }
    // The number of needed rows before each row is its place in the part.
    let mut before = Vec::with_capacity(needed.len() + 1);
    before.push(0);
    for &row in &needed {
        before.push(before[before.len() - 1] + usize::from(row));
    }
    let moved = |rows: &Range<usize>| before[rows.start]..before[rows.end];
    let mut part = Batch::default();
    for segment in &batch.segments {
        // Of a segment that others depend on, its first rows are needed.
        let rows = moved(&segment.rows);
        if !rows.is_empty() {
            part.segments.push(Segment { rows, context: segment.context.iter().map(moved).collect() });
        }
    }
    let kept = |row: &usize| needed[*row];
    part.tokens = (0..needed.len()).filter(kept).map(|row| batch.tokens[row]).collect();
    part.positions = (0..needed.len()).filter(kept).map(|row| batch.positions[row]).collect();
    let places: Vec<usize> = (0..targets.len()).filter(|&place| owned[targets[place].row as usize]).collect();
    let of_part = |&place: &usize| {
        let Target { row, token } = targets[place];
        Target { row: before[row as usize] as u32, token }
    };
    (Task { batch: part, targets: places.iter().map(of_part).collect(), dropout_seed }, places)
}
