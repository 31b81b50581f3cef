//! How long a run will still take, estimated from its stages that are done.

use tabpo_pipeline::{
    observer::StageState,
    run::{PlannedStage, Work},
};

/// The stages of a run, and what they have taken so far.
#[derive(Default)]
pub(crate) struct Remaining {
    stages: Vec<PlannedStage>,
    begun: Vec<bool>,
    supervised: Rate,
    preference: Rate,
    answering: Rate,
    /// Seconds of the longest training of pairs: one that trains for as many FLOPs as another takes about as long.
    longest: Option<f64>,
}

/// Seconds and what was done in them. A training that was resumed counts with all its steps, so its rate is too high.
#[derive(Default)]
struct Rate {
    seconds: f64,
    work: f64,
}

impl Rate {
    fn add(&mut self, seconds: f64, work: f64) {
        self.seconds += seconds;
        self.work += work;
    }

    /// Seconds for some work; `None` before any was measured.
    fn of(&self, work: f64) -> Option<f64> {
        (self.work > 0.0).then(|| self.seconds / self.work * work)
    }
}

impl Remaining {
    /// Nothing is done of these stages.
    pub(crate) fn new(stages: &[PlannedStage]) -> Self {
        Self { stages: stages.to_vec(), begun: vec![false; stages.len()], ..Self::default() }
    }

    /// Takes note of a stage that begins, ends, or is skipped.
    pub(crate) fn stage(&mut self, name: &str, state: StageState) {
        let Some(place) = self.stages.iter().position(|stage| is_name(&stage.name, name)) else { return };
        self.begun[place] = true;
        let StageState::Finished { seconds } = state else { return };
        match self.stages[place].work {
            Work::Train(training) => {
                if training.rejected {
                    self.longest = Some(self.longest.unwrap_or(0.0).max(seconds));
                }
                let Some(steps) = training.steps else { return };
                let rate = if training.rejected { &mut self.preference } else { &mut self.supervised };
                rate.add(seconds, steps as f64 * training.batch as f64);
            }
            Work::Answer { units } => self.answering.add(seconds, units as f64),
            Work::Little => {}
        }
    }

    /// Seconds that the stages take which have not begun; `None` as long as too little is known.
    pub(crate) fn seconds(&self) -> Option<f64> {
        let waiting = self.stages.iter().zip(&self.begun).filter(|(_, begun)| !**begun);
        waiting.map(|(stage, _)| self.estimate(stage.work)).sum()
    }

    fn estimate(&self, work: Work) -> Option<f64> {
        match work {
            Work::Little => Some(0.0),
            Work::Answer { units } => self.answering.of(units as f64),
            Work::Train(training) => {
                let Some(steps) = training.steps else { return self.longest };
                let examples = steps as f64 * training.batch as f64;
                let (own, other) = if training.rejected {
                    (&self.preference, &self.supervised)
                } else {
                    (&self.supervised, &self.preference)
                };
                own.of(examples).or_else(|| other.of(examples))
            }
        }
    }
}

/// Whether a planned stage has this name; `*` in the plan stands for a learning rate that is not known yet.
fn is_name(planned: &str, name: &str) -> bool {
    match planned.split_once('*') {
        None => planned == name,
        Some((start, end)) => name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
    }
}

/// Seconds in the largest units that say something.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use tabpo_pipeline::run::Training;

    use super::*;

    fn training(steps: Option<u64>, rejected: bool) -> Work {
        Work::Train(Training { examples: 100, steps, batch: 4, rejected, reference: false })
    }

    fn done(seconds: f64) -> StageState {
        StageState::Finished { seconds }
    }

    #[test]
    fn what_is_left_follows_from_what_the_stages_have_taken() {
        let plan = [
            ("base", Work::Little),
            ("sft", training(Some(10), false)),
            ("errors/validation", Work::Answer { units: 8 }),
            ("systems/dpo/lr-2e-4/seed-1", training(Some(5), true)),
            ("systems/control/lr-2e-4/seed-1", training(None, true)),
            ("systems/dpo/lr-*/seed-2", training(Some(5), true)),
            ("sft/test", Work::Answer { units: 20 }),
        ];
        let plan = plan.map(|(name, work)| PlannedStage { name: name.to_owned(), work });
        let mut remaining = Remaining::new(&plan);
        remaining.stage("base", StageState::UpToDate);
        assert_eq!(remaining.seconds(), None);
        remaining.stage("sft", StageState::Started);
        remaining.stage("sft", done(80.0));
        remaining.stage("errors/validation", done(4.0));
        assert_eq!(remaining.seconds(), None, "what the control takes is not known yet");
        remaining.stage("systems/dpo/lr-2e-4/seed-1", done(60.0));
        // The control takes as long as the training it follows; 20 answers at half a second each.
        assert_eq!(remaining.seconds(), Some(60.0 + 60.0 + 10.0));
        remaining.stage("systems/control/lr-2e-4/seed-1", done(62.0));
        remaining.stage("systems/dpo/lr-8e-4/seed-2", StageState::Started);
        assert_eq!(remaining.seconds(), Some(10.0));
        remaining.stage("sft/test", StageState::Started);
        assert_eq!(remaining.seconds(), Some(0.0));
    }

    #[test]
    fn before_a_preference_training_the_fine_tuning_tells_about_how_long_one_takes() {
        let plan = [("sft", training(Some(10), false)), ("systems/dpo", training(Some(5), true))];
        let plan = plan.map(|(name, work)| PlannedStage { name: name.to_owned(), work });
        let mut remaining = Remaining::new(&plan);
        remaining.stage("sft", done(80.0));
        assert_eq!(remaining.seconds(), Some(40.0));
    }

    #[test]
    fn a_star_stands_for_one_learning_rate() {
        assert!(is_name("systems/a/lr-*/seed-2", "systems/a/lr-2e-4/seed-2"));
        assert!(!is_name("systems/a/lr-*/seed-2", "systems/a/lr-2e-4/seed-3"));
        assert!(!is_name("ab*ba", "aba"));
        assert_eq!([59.4, 61.0, 3725.0].map(duration), ["59 s", "1 min 01 s", "1 h 02 min"]);
    }
}
