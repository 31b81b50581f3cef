//! Runs on several processes, which `mpirun`, `srun` or the like start with the same command.

use std::{collections::BTreeMap, path::Path};

use tabpo_ranks::{Meeting, MeetingError, Place};

use crate::{
    config::{Configuration, Overrides},
    error::CliError,
    output::Context,
    run::{self, Lead},
    version,
};

/// The place of this process among several, if it is one of several.
pub(super) fn place() -> Result<Option<Place>, CliError> {
    Place::of_environment().map_err(|error| CliError::input(error.to_string()).with_hint(error.hint()))
}

fn meet(place: Place, config: &Configuration, context: &Context) -> Result<Meeting, CliError> {
    let version = format!("{} ({})", env!("CARGO_PKG_VERSION"), version::commit().unwrap_or("of an unknown commit"));
    let meeting = Meeting::meet(place, &config.run.directory(), &version, &|| context.interrupted());
    let meeting = meeting.map_err(|error| match (&error, error.hint()) {
        (MeetingError::Interrupted, _) => CliError::interrupted(error.to_string()),
        (_, Some(hint)) => CliError::failed(error.to_string()).with_hint(hint),
        (_, None) => CliError::failed(error.to_string()),
    })?;
    context.share_processors(meeting.sharing);
    Ok(meeting)
}

/// Waits for the other ranks and takes the lead.
pub(super) fn lead(place: Place, config: &Configuration, context: &Context) -> Result<Lead, CliError> {
    let meeting = meet(place, config, context)?;
    let mut ranks_on: BTreeMap<&str, usize> = BTreeMap::new();
    for host in &meeting.hosts {
        *ranks_on.entry(host).or_default() += 1;
    }
    let hosts: Vec<String> = ranks_on.iter().map(|(host, count)| format!("{host} ({count})")).collect();
    let threads = rayon::current_num_threads();
    let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    context.say(format!("training on {} ranks: {}; rank 0 computes with {threads}", place.size, hosts.join(", ")));
    Ok(Lead::new(meeting))
}

/// Takes part as another rank than 0, which says all there is to say.
pub(super) fn follow(place: Place, config: &Path, overrides: &Overrides, context: &Context) -> Result<(), CliError> {
    let configuration = match Configuration::read(config, overrides) {
        Ok(configuration) => configuration,
        // Whatever else is wrong with it, rank 0 finds, too.
        Err(error) if !config.exists() => return Err(error.context(format!("rank {}", place.rank))),
        Err(_) => return Ok(()),
    };
    let meeting = meet(place, &configuration, context)?;
    context.follow();
    run::follow(&meeting, &configuration.model, &())
}
