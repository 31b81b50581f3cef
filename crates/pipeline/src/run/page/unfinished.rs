//! The page of a run that goes on, from what its directory holds so far.

use std::{fs, path::Path};

use tabpo_metrics::modes::ErrorModes;
use tabpo_ontology::Ontology;
use tabpo_report::{Fact, LoggedRecords, Record, ReportInput, RunSummary, html, read_metrics};

use super::{
    PAIRS_SHOWN, errors, pairs, stage_times, terms,
    training::{self, Last, Trained},
};
use crate::{
    config::Configuration,
    error::{Error, ResultExt},
    run::{
        directory::RECORD_OF_STAGES,
        examples::read_pairs,
        ledger,
        record::RunRecord,
        systems::{self, System},
    },
};

/// The page of a run that is not finished: the curves of its trainings, the errors of the SFT checkpoint and the pairs, as
/// far as they are there. It is made from the files of the run directory alone, so it can be made while another thread or
/// process runs it.
pub fn unfinished_page(directory: &Path) -> Result<String, Error> {
    let path = directory.join("run.toml");
    let config = Configuration::of_run(&path, &fs::read_to_string(&path).or_failed()?)?;
    let systems = systems::resolve(&config.preference, config.predict.threshold)?;
    let ontology = match &config.ontology.file {
        Some(path) => Ontology::read(path).or_input()?,
        None => tabpo_synthetic::ontology().clone(),
    };
    let log = directory.join("metrics.jsonl");
    let LoggedRecords { records, .. } =
        if log.exists() { read_metrics(&log).or_failed()? } else { LoggedRecords::default() };
    let stages: Vec<String> = first_stages(&systems, &records);
    let runs: Vec<Trained> = systems
        .iter()
        .zip(&stages)
        .filter(|(_, stage)| !stage.is_empty())
        .map(|(system, stage)| Trained {
            system: &system.name,
            objective: system.objective.name(),
            stage: stage.clone(),
        })
        .collect();
    let last: Vec<(&str, Last)> = runs.iter().map(|run| (run.system, Last::of(&records, &run.stage))).collect();
    let finished = fs::read(directory.join(RECORD_OF_STAGES)).map(|content| ledger::read(&content)).unwrap_or_default();
    let shown =
        if finished.contains_key("pairs") { read_pairs(&directory.join("pairs/pairs.jsonl"))? } else { Vec::new() };
    let modes: Option<ErrorModes> =
        fs::read(directory.join("errors/modes.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let record = RunRecord::read(directory);
    Ok(html::page(&ReportInput {
        title: config.run.name.clone(),
        subtitle: record.map(|record| record.line()),
        summary: Some(RunSummary {
            facts: vec![Fact { name: "State".to_owned(), value: "not finished".to_owned() }],
            seeds: config.preference.seeds.clone(),
            stages: stage_times(&finished),
            configuration: config.to_toml(),
            ..RunSummary::default()
        }),
        errors: modes.iter().map(|modes| errors("sft on validation", modes, &ontology)).collect(),
        curves: training::curves(&runs, &records),
        roles: terms::roles(),
        gradients: Some(training::shares(&last)),
        erosion: last.iter().filter(|(_, last)| last.compared()).map(|(name, last)| last.change(name)).collect(),
        pairs: pairs::evenly(&shown, PAIRS_SHOWN).map(pairs::view).collect(),
        ..ReportInput::default()
    }))
}

/// The stage of each system's training that was logged first; empty where there is none.
fn first_stages(systems: &[System], records: &[Record]) -> Vec<String> {
    let stage_of = |system: &System| {
        let own = format!("systems/{}/", system.name);
        let mut stages = records.iter().filter_map(|record| record.fields.get("stage")?.as_str());
        stages.find(|stage| stage.starts_with(&own)).unwrap_or_default().to_owned()
    };
    systems.iter().map(stage_of).collect()
}
