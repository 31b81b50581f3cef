//! The choice of the type in which products with frozen weights are computed.
//!
//! Log-probs, checkpoints and answers in one type are not continued in the other, so a run chooses once and keeps its
//! choice in the run directory.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tabpo_engine::{Compute, ProductSpeeds};
use tabpo_model::{ModelFolder, StoredType};

use super::directory::{RunDirectory, write_atomically};
use crate::{
    config::ModelSection,
    error::{Error, ResultExt},
    memory,
    observer::Observer,
};

/// The file of the choice in the run directory.
const FILE: &str = "compute.json";

/// A choice and its reasons.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Choice {
    compute: Compute,
    speeds: ProductSpeeds,
    /// The machine on which the speeds were measured.
    machine: String,
}

/// How products with frozen weights are computed in a run: as configured, or if that is `auto` and there is a choice, as
/// chosen when the run began. `adapter` says whether there is an adapter, under which weights are frozen.
pub(super) fn of_run(
    model: &ModelSection,
    adapter: bool,
    directory: &RunDirectory,
    observer: &dyn Observer,
) -> Result<Compute, Error> {
    let compute = model.compute;
    // Without an adapter all weights are trained, and those that are written are not in bf16.
    let Some(folder) = model.folder.as_deref().filter(|_| adapter && compute == Compute::Auto) else {
        return Ok(compute);
    };
    let path = directory.path(FILE)?;
    let machine = memory::processor();
    if let Some(earlier) = read(&path, observer)? {
        let elsewhere = if earlier.machine == machine {
            String::new()
        } else {
            format!(" on another machine ({}); remove {} to choose again", earlier.machine, path.display())
        };
        observer
            .say(&format!("{}, measured when the run began{elsewhere}", description(earlier.compute, &earlier.speeds)));
        return Ok(earlier.compute);
    }
    let Some(speeds) = speeds(folder, compute)? else { return Ok(compute) };
    let choice = Choice { compute: speeds.choice(), speeds, machine };
    observer.say(&description(choice.compute, &speeds));
    let text = serde_json::to_vec_pretty(&choice).expect("a choice is plain data");
    write_atomically(&path, &text)?;
    Ok(choice.compute)
}

/// The choice that a run has made. A damaged one is reported and made again.
fn read(path: &Path, observer: &dyn Observer) -> Result<Option<Choice>, Error> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.or_failed()?,
    };
    match serde_json::from_slice(&text) {
        Ok(choice) => Ok(Some(choice)),
        Err(error) => {
            observer.warn(&format!("{} is damaged ({error}): the type of products is chosen again", path.display()));
            Ok(None)
        }
    }
}

/// The speeds of a model's products, if they decide how it is computed with.
pub(super) fn speeds(model: &Path, compute: Compute) -> Result<Option<ProductSpeeds>, Error> {
    if compute != Compute::Auto {
        return Ok(None);
    }
    let folder = ModelFolder::open(model).or_input()?;
    Ok(folder.matrices_are(StoredType::Bf16).then(|| ProductSpeeds::measure(folder.config())))
}

/// What was chosen, and why.
pub(super) fn description(compute: Compute, speeds: &ProductSpeeds) -> String {
    format!(
        "compute: {} ({:.0} GFLOP/s in f32, {:.0} in bf16{})",
        compute.name(),
        speeds.f32_gflops,
        speeds.bf16_gflops,
        Compute::bf16_instructions().map_or(String::new(), |name| format!(" by {name}")),
    )
}

#[cfg(test)]
mod tests {
    use tabpo_engine::Model;
    use tabpo_model::{GenerationTokens, ModelConfig, SaveOptions};

    use super::*;

    fn with_model(folder: &Path, stored: StoredType) -> ModelSection {
        let model = Model::<f32>::initialise(ModelConfig::small(64, 16, 1, 2), 1);
        let tokens = GenerationTokens { bos: None, stop: vec![1], pad: None };
        model.save(folder, &SaveOptions::new(stored), &tokens).expect("a writable folder");
        ModelSection { folder: Some(folder.to_owned()), ..ModelSection::default() }
    }

    #[test]
    fn a_run_keeps_its_choice() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = with_model(&folder.path().join("model"), StoredType::Bf16);
        let directory = RunDirectory::open(&folder.path().join("run")).expect("a run directory");
        let chosen = of_run(&config, true, &directory, &()).expect("a choice");
        assert_ne!(chosen, Compute::Auto);
        // What is written decides, whatever a second measurement would say.
        let path = folder.path().join("run").join(FILE);
        for compute in [Compute::F32, Compute::Bf16] {
            let text = std::fs::read_to_string(&path).expect("the choice");
            let mut choice: Choice = serde_json::from_str(&text).expect("a choice");
            choice.compute = compute;
            std::fs::write(&path, serde_json::to_vec(&choice).expect("plain data")).expect("writable");
            assert_eq!(of_run(&config, true, &directory, &()).expect("a choice"), compute);
        }
        std::fs::write(&path, "{").expect("writable");
        assert_ne!(of_run(&config, true, &directory, &()).expect("a new choice"), Compute::Auto);
        assert!(serde_json::from_slice::<Choice>(&std::fs::read(&path).expect("the choice")).is_ok());
    }

    #[test]
    fn nothing_is_measured_where_there_is_no_choice() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory::open(&folder.path().join("run")).expect("a run directory");
        let mut config = with_model(&folder.path().join("model"), StoredType::F32);
        assert_eq!(of_run(&config, true, &directory, &()).expect("no choice"), Compute::Auto);
        config.compute = Compute::Bf16;
        assert_eq!(of_run(&config, true, &directory, &()).expect("no choice"), Compute::Bf16);
        assert!(!folder.path().join("run").join(FILE).exists());
    }
}
