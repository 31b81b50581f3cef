//! What trainings log: curves, and figures by token role.

use std::collections::BTreeMap;

use tabpo_objective::accounting::RoleSummary;
use tabpo_report::{Curve, CurveChart, Record, RoleChange, RoleProfile, RoleShares};
use tabpo_roles::Role;

/// The number of last steps over which shares of the gradient are averaged.
const LAST_STEPS: usize = 10;

/// A training of a system.
pub(super) struct Trained<'a> {
    /// The system.
    pub(super) system: &'a str,
    /// The name of its objective.
    pub(super) objective: &'a str,
    /// The stage, by which the log names it.
    pub(super) stage: String,
}

/// Loss and margin over the steps. Objectives measure them on scales of their own, so each has its own axes; systems that
/// share an objective share them.
pub(super) fn curves(runs: &[Trained<'_>], steps: &[Record]) -> Vec<CurveChart> {
    let chart = |title: &str, y: &str, field: &str, stages: &[(&str, &str)], smoothing| CurveChart {
        title: title.to_owned(),
        x: "step".to_owned(),
        y: y.to_owned(),
        note: String::new(),
        smoothing,
        curves: stages
            .iter()
            .map(|(name, stage)| Curve { name: (*name).to_owned(), points: points(steps, stage, field) })
            .filter(|curve| !curve.points.is_empty())
            .collect(),
    };
    let mut charts = vec![chart(
        "Supervised fine-tuning",
        "loss (nats a token)",
        "loss",
        &[("warmup", "warmup"), ("sft", "sft")],
        20,
    )];
    let mut objectives: Vec<&str> = Vec::new();
    for run in runs {
        if !objectives.contains(&run.objective) {
            objectives.push(run.objective);
        }
    }
    let own = |objective: &str| -> Vec<(&str, &str)> {
        let runs = runs.iter().filter(|run| run.objective == objective);
        runs.map(|run| (run.system, run.stage.as_str())).collect()
    };
    for &objective in &objectives {
        charts.push(chart(&format!("Loss of {objective}"), "loss", "loss", &own(objective), 5));
    }
    for &objective in &objectives {
        let mut margin = chart(&format!("Margin of {objective}"), "margin", "margin", &own(objective), 5);
        let flat = margin.curves.iter().flat_map(|curve| &curve.points).all(|point| point.1 == 0.0);
        if flat && !margin.curves.is_empty() {
            margin.curves.clear();
            if let Some(loss) = charts.iter_mut().find(|chart| chart.title == format!("Loss of {objective}")) {
                "It compares no whole answers, so it has no margin between chosen and rejected ones."
                    .clone_into(&mut loss.note);
            }
        }
        "How much higher the chosen answer scores than the rejected one, on the scale of this objective."
            .clone_into(&mut margin.note);
        charts.push(margin);
    }
    charts.retain(|chart| !chart.curves.is_empty());
    charts
}

fn points(steps: &[Record], stage: &str, field: &str) -> Vec<(f64, f64)> {
    let own = steps.iter().filter(|record| is_of(record, stage));
    own.filter_map(|record| Some((record.step()? as f64, record.number(field)?))).collect()
}

fn is_of(record: &Record, stage: &str) -> bool {
    record.fields.get("stage").and_then(|name| name.as_str()) == Some(stage)
}

/// The figures of token roles in the last steps of a training.
pub(super) struct Last {
    steps: Vec<BTreeMap<Role, RoleSummary>>,
    final_erosion: (u64, u64),
}

impl Last {
    /// Those of the training with this stage name.
    pub(super) fn of(records: &[Record], stage: &str) -> Self {
        let own: Vec<&Record> = records.iter().filter(|record| is_of(record, stage)).collect();
        let last = &own[own.len().saturating_sub(LAST_STEPS)..];
        let read = |record: &&Record| serde_json::from_value(record.fields.get("roles")?.clone()).ok();
        let steps: Vec<BTreeMap<Role, RoleSummary>> = last.iter().filter_map(read).collect();
        let sums = steps.iter().flat_map(BTreeMap::values);
        let final_erosion = sums.fold((0, 0), |(eroded, all), role| (eroded + role.eroded, all + role.under_confident));
        Self { steps, final_erosion }
    }

    /// The mean of a figure over the last steps, for each role; a step in which a role does not occur counts as 0.
    fn mean(&self, figure: impl Fn(&RoleSummary) -> f64) -> Vec<f64> {
        let mean = |role| {
            let sum: f64 = self.steps.iter().filter_map(|step| step.get(&role)).map(&figure).sum();
            sum / self.steps.len().max(1) as f64
        };
        Role::ALL.into_iter().map(mean).collect()
    }

    /// Whether there are any.
    pub(super) fn compared(&self) -> bool {
        !self.steps.is_empty()
    }

    /// How log-probabilities have changed since the reference.
    pub(super) fn change(&self, name: &str) -> RoleChange {
        let occurs = |role| self.steps.iter().any(|step| step.contains_key(&role));
        let values = |figure: fn(&RoleSummary) -> f64| {
            Role::ALL.into_iter().zip(self.mean(figure)).map(|(role, mean)| occurs(role).then_some(mean)).collect()
        };
        RoleChange {
            name: name.to_owned(),
            roles: role_names(),
            chosen: values(|role| role.chosen_change),
            rejected: values(|role| role.rejected_change),
            eroded: Some(self.final_erosion),
        }
    }
}

/// Where the gradient falls.
pub(super) fn shares(last: &[(&str, Last)]) -> RoleShares {
    let share = |role: &RoleSummary| role.chosen_gradient_share + role.rejected_gradient_share;
    let profiles = last.iter().filter(|(_, last)| !last.steps.is_empty());
    let objectives = profiles.map(|(name, last)| RoleProfile { name: (*name).to_owned(), shares: last.mean(share) });
    RoleShares { roles: role_names(), objectives: objectives.collect() }
}

fn role_names() -> Vec<String> {
    Role::ALL.iter().map(|role| role.name().to_owned()).collect()
}
