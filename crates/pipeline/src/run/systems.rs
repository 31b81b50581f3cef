//! The systems of a comparison: the objectives in the configuration, and controls.

use tabpo_objective::{Objective, catalogue};

use crate::{
    config::{PreferenceSection, SystemSection, ThresholdChoice},
    error::{Error, ResultExt},
};

/// Continued fine-tuning for as many steps as the preference methods.
pub(crate) const EQUAL_STEPS: &str = "continued-sft";
/// Continued fine-tuning for as many FLOPs as the most expensive preference method.
pub(crate) const EQUAL_FLOPS: &str = "continued-sft-equal-flops";
/// The barrier without a preference term.
pub(crate) const GATED: &str = "gated-sft";
/// The controls, which are part of every comparison: systems are not just compared with the SFT checkpoint.
pub(crate) const CONTROLS: [&str; 3] = [EQUAL_STEPS, EQUAL_FLOPS, GATED];

/// One system: an objective and how long it trains.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// Its name in tables and its folder.
    pub name: String,
    /// What it minimises.
    pub objective: Objective,
    /// The learning rates to choose from on validation; just one if there is no choice.
    pub learning_rates: Vec<f64>,
    /// Whether it trains until it has used as many FLOPs as the most expensive preference method.
    pub equal_flops: bool,
    /// Whether it is also compared with tuned thresholds.
    pub threshold: ThresholdChoice,
}

/// The systems in the order in which they are trained and shown: first the controls at equal steps, then the objectives
/// in the configuration, then all that use as many FLOPs as the most expensive one before them.
///
/// `threshold` is the choice for systems without one of their own.
pub(crate) fn resolve(section: &PreferenceSection, threshold: ThresholdChoice) -> Result<Vec<System>, Error> {
    let names = CONTROLS.iter().copied().chain(section.objectives.iter().map(String::as_str));
    let mut systems: Vec<System> = Vec::new();
    for name in names {
        if systems.iter().all(|system| system.name != name) {
            systems.push(system(name, section, threshold)?);
        }
    }
    if let Some(name) = section.system.keys().find(|name| systems.iter().all(|system| system.name != **name)) {
        return Err(Error::input(format!("[preference.system.{name}] belongs to no system of preference.objectives"))
            .with_hint(nearest_hint(name, systems.iter().map(|system| system.name.as_str()))));
    }
    systems.sort_by_key(|system| system.equal_flops);
    Ok(systems)
}

fn system(name: &str, section: &PreferenceSection, default: ThresholdChoice) -> Result<System, Error> {
    let own = section.system.get(name).cloned().unwrap_or_default();
    let SystemSection { objective, learning_rate, equal_flops, threshold, parameters } = own;
    let control = if name == EQUAL_FLOPS { Some(EQUAL_STEPS) } else { None };
    let objective_name = objective.as_deref().or(control).unwrap_or(name);
    if catalogue().iter().all(|entry| entry.name != objective_name) {
        let own_names = section.system.keys().map(String::as_str);
        let known = catalogue().iter().map(|entry| entry.name).chain(own_names);
        return Err(Error::input(format!("preference.objectives: there is no objective `{objective_name}`"))
            .with_hint(nearest_hint(objective_name, known)));
    }
    let objective = Objective::with(objective_name, &parameters)
        .or_input()
        .map_err(|error| error.context(format!("[preference.system.{name}]")))?;
    let learning_rates = match (learning_rate, section.learning_rates.is_empty()) {
        (Some(rate), _) => vec![rate],
        (None, true) => vec![section.train.learning_rate],
        (None, false) => section.learning_rates.clone(),
    };
    let equal_flops = equal_flops || name == EQUAL_FLOPS;
    let threshold = threshold.unwrap_or(default);
    Ok(System { name: name.to_owned(), objective, learning_rates, equal_flops, threshold })
}

fn nearest_hint<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match tabpo_ontology::nearest(name, known) {
        Some(near) => format!("did you mean `{near}`? `tabpo objective --list` shows all"),
        None => "`tabpo objective --list` shows all objectives".to_owned(),
    }
}
