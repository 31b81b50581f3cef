//! Checks before a run starts: that systems have distinct names, that the adapter fits the model, and that the machine
//! has enough memory.

use std::path::Path;

use tabpo_engine::{ForwardOptions, MemoryPlan, PolicyShape};
use tabpo_model::{ModelConfig, gguf_files, is_gguf_file};
use tabpo_objective::OwnAnswers;

use super::{MemoryRow, comparison::CHECKPOINT, systems::System};
use crate::{
    config::{AdapterSection, Configuration, ThresholdChoice, TrainSection, names, rank_within},
    error::{Error, ResultExt},
    memory,
    observer::Observer,
    range,
};

/// Checks the systems of a comparison, and the model that they start from.
pub(crate) fn check(config: &Configuration, systems: &[System], observer: &dyn Observer) -> Result<(), Error> {
    distinct_names(config, systems)?;
    one_shift(systems)?;
    own_lists(config, systems)?;
    let plans = plans(config, systems, observer)?;
    let chosen = config.model.device.choose()?;
    match chosen.memory()? {
        None => plans.iter().try_for_each(|plan| memory::compare_with_free(plan.section, &plan.within, observer)),
        Some(bytes) => card::check(config, systems, bytes),
    }
}

#[cfg(not(feature = "cuda"))]
mod card {
    use super::{Configuration, Error, MemoryRow, System};

    pub(super) fn check(_: &Configuration, _: &[System], _: u64) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn rows(_: &Configuration, _: &[System], _: u64) -> Result<Vec<MemoryRow>, Error> {
        Ok(Vec::new())
    }
}

/// Whether the training sections fit into a card's memory.
#[cfg(feature = "cuda")]
mod card {
    use tabpo_cuda::{
        Base,
        driver::Element,
        memory::{MemoryPlan, Request, Rung},
    };
    use tabpo_engine::Compute;
    use tabpo_model::ModelFolder;

    use super::{AdapterSection, Configuration, Error, MemoryRow, System, TrainSection, shape, trained_sections};
    use crate::{error::ResultExt, memory::size, run::CARD_LOGIT_BYTES};

    /// Bytes of logits that the least takes.
    const LOGIT_BYTES: u64 = 64 << 20;

    /// Calls `work` with every training section and what its largest step asks of a card with this many bytes for logits.
    fn each<T>(
        config: &Configuration,
        systems: &[System],
        logit_bytes: u64,
        mut work: impl FnMut(&'static str, &TrainSection, &Request<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let (shape, _) = shape(config)?;
        let lora = config.adapter.as_ref().map(AdapterSection::lora);
        let element = if config.model.compute == Compute::F32 { Element::F32 } else { Element::Bf16 };
        let folder = config.model.folder.as_deref().map(ModelFolder::open).transpose().or_input()?;
        let nested = folder.and_then(|folder| folder.nested_nf4());
        let base = nested.map_or(Base::Plain, |nested| Base::Nf4 { nested });
        let sections = trained_sections(config, systems).into_iter().map(|(section, train, divergence)| {
            let rows = train.max_tokens;
            let (config, adapter) = (&shape, lora.as_ref());
            let request = Request { config, element, base, adapter, rows, target_rows: rows, logit_bytes, divergence };
            work(section, train, &request)
        });
        sections.collect()
    }

    fn least(request: &Request<'_>) -> MemoryPlan {
        MemoryPlan::of(request, vec![Rung::Input; request.config.layers])
    }

    /// The memory of every training section on a card with `bytes` of memory.
    pub(super) fn rows(config: &Configuration, systems: &[System], bytes: u64) -> Result<Vec<MemoryRow>, Error> {
        each(config, systems, CARD_LOGIT_BYTES as u64, |section, _, request| {
            let most = MemoryPlan::within(request, bytes).total() as usize;
            Ok(MemoryRow { section, most, least: least(request).total() as usize })
        })
    }

    /// Refuses a run whose largest step takes more than `bytes`, with what would make it fit.
    pub(super) fn check(config: &Configuration, systems: &[System], bytes: u64) -> Result<(), Error> {
        each(config, systems, LOGIT_BYTES, |section, train, request| {
            let plan = least(request);
            if plan.total() <= bytes {
                return Ok(());
            }
            let most = MemoryPlan::most_rows(request, Rung::Input, bytes);
            let message = format!(
                "{section}: a step of {} tokens takes at least {} of the card's memory, of which {} can be used",
                train.max_tokens,
                size(plan.total() as usize),
                size(bytes as usize)
            );
            let hint = if most > 0 {
                format!(
                    "at most {most} tokens fit: lower {section}.max_tokens (and max_length) to that, or set model.device to cpu"
                )
            } else if request.adapter.is_none() {
                "not even one token fits: train an [adapter] instead of all parameters, take a smaller model, or set \
                 model.device to cpu"
                    .to_owned()
            } else {
                "the weights alone don't fit: take a smaller model, or set model.device to cpu".to_owned()
            };
            Err(Error::input(message).with_hint(hint))
        })
        .map(drop)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_would_fit_is_said() {
            let text =
                "[run]\nname = \"x\"\n[data]\nsynthetic = {}\n[model]\n[sft]\n[preference]\nobjectives = [\"dpo\"]\n";
            let mut config: Configuration = toml::from_str(text).expect("a configuration");
            check(&config, &[], 8 << 30).expect("a small model fits");
            let error = check(&config, &[], 60 << 20).expect_err("it is too small for the tokens");
            let most: usize = error
                .hint()
                .and_then(|hint| hint.strip_prefix("at most ")?.split(' ').next()?.parse().ok())
                .expect("a number of tokens");
            config.sft.max_tokens = most;
            config.preference.train.max_tokens = most;
            check(&config, &[], 60 << 20).expect("that many fit");
            let error = check(&config, &[], 1 << 20).expect_err("the weights don't fit");
            assert!(error.hint().is_some_and(|hint| hint.contains("[adapter]")), "{error}");
        }
    }
}

/// The model's shape, and the bytes of its weights if they are stored.
pub(super) fn shape(config: &Configuration) -> Result<(ModelConfig, Option<usize>), Error> {
    Ok(match &config.model.folder {
        Some(folder) => (ModelConfig::open(folder).or_input()?, Some(weight_files(folder))),
        None => (config.model.shape(config.model.vocabulary), None),
    })
}

/// The training sections of a configuration with their names, and whether any of their objectives needs divergences.
pub(super) fn trained_sections<'c>(
    config: &'c Configuration,
    systems: &[System],
) -> Vec<(&'static str, &'c TrainSection, bool)> {
    let divergence = systems.iter().any(|system| system.objective.needs().kl);
    let mut sections = Vec::new();
    sections.extend(config.warmup.as_ref().map(|warmup| ("warmup.train", &warmup.train, false)));
    sections.push(("sft", &config.sft, false));
    sections.push(("preference.train", &config.preference.train, divergence));
    sections
}

/// The memory of every training section on a device with `card` bytes of a card's memory, or on the CPU.
pub(crate) fn rows(
    config: &Configuration,
    systems: &[System],
    card: Option<u64>,
    observer: &dyn Observer,
) -> Result<Vec<MemoryRow>, Error> {
    if let Some(bytes) = card {
        return card::rows(config, systems, bytes);
    }
    let row = |plan: SectionPlan| MemoryRow {
        section: plan.section,
        most: plan.within.total(),
        least: plan.smallest.total(),
    };
    Ok(plans(config, systems, observer)?.into_iter().map(row).collect())
}

/// The memory that a training section's largest step may take.
pub struct SectionPlan {
    /// The section.
    pub section: &'static str,
    /// With as much kept between the passes as the limit allows.
    pub within: MemoryPlan,
    /// With as much computed again as possible.
    pub smallest: MemoryPlan,
}

/// The memory of every training section.
pub(crate) fn plans(
    config: &Configuration,
    systems: &[System],
    observer: &dyn Observer,
) -> Result<Vec<SectionPlan>, Error> {
    let adapter = config.adapter.as_ref();
    let (shape, weights) = shape(config)?;
    if let Some(section) = adapter.filter(|section| section.folder.is_none()) {
        rank_within("adapter.rank", section.rank, shape.hidden)?;
    }
    let lora = adapter.map(AdapterSection::lora);
    let policy = PolicyShape::planned(&shape, weights, lora.as_ref());
    let plan = |(section, train, divergence): (&'static str, &TrainSection, bool)| {
        let logit_bytes = ForwardOptions::default().logit_bytes;
        let held = memory::held(observer);
        let request = memory::request(train.max_tokens, logit_bytes, divergence, 0, held);
        let within = policy.plan(&request, memory::limit(train.memory_gb, held, 1));
        SectionPlan { section, within, smallest: policy.plan(&request, Some(0)) }
    };
    Ok(trained_sections(config, systems).into_iter().map(plan).collect())
}

/// Checks the number of copies for the warm-up, all of which are in memory at once.
pub(crate) fn copies(config: &Configuration, documents: usize) -> Result<(), Error> {
    let copies = config.warmup.as_ref().map_or(0, |warmup| warmup.copies);
    let key = format!("warmup.copies: {copies} copies of {documents} documents");
    range::COUNT.or_none().check(&key, copies.saturating_mul(documents) as u64)
}

/// Checks that no system moves the ends of its lists twice: in training, and by a tuned threshold.
fn one_shift(systems: &[System]) -> Result<(), Error> {
    for system in systems.iter().filter(|system| system.threshold == ThresholdChoice::Tuned) {
        if let Err(error) = system.objective.allow_threshold() {
            let name = &system.name;
            return Err(Error::input(format!("the system `{name}`: {error}")).with_hint(format!(
                "set `threshold = \"none\"` in [preference.system.{name}]; the other systems keep theirs"
            )));
        }
    }
    Ok(())
}

/// Checks that no system learns from its own answers in the marked form, for which it is not known what would have been
/// right after a mistake.
fn own_lists(config: &Configuration, systems: &[System]) -> Result<(), Error> {
    let own =
        systems.iter().find(|system| system.objective.needs().own != OwnAnswers::None && !config.answer.form.is_list());
    own.map_or(Ok(()), |system| {
        Err(Error::input(format!(
            "the system `{}` trains on the model's own answers, but answer.form is marked",
            system.name
        ))
        .with_hint("own answers are read in the form `list` only: use that, or leave the system out"))
    })
}

/// Checks that names are distinct, because every system has a row in the comparison and a folder in the run directory.
fn distinct_names(config: &Configuration, systems: &[System]) -> Result<(), Error> {
    let checkpoint = ("the SFT checkpoint".to_owned(), CHECKPOINT);
    let systems = systems.iter().map(|system| ("the system".to_owned(), system.name.as_str()));
    let remote = config.predict.remote.keys().map(|name| ("[predict.remote]:".to_owned(), name.as_str()));
    names::distinct([checkpoint].into_iter().chain(systems).chain(remote))
}

/// The size of the weight files in a model folder, in bytes.
pub(crate) fn weight_files(folder: &Path) -> usize {
    if is_gguf_file(folder) {
        let files = gguf_files(folder).into_iter().flatten();
        let sizes = files.filter_map(|file| std::fs::metadata(file).ok());
        return sizes.map(|file| file.len() as usize).sum();
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let weights = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "safetensors"));
    weights.filter_map(|entry| std::fs::metadata(entry.path()).ok()).map(|file| file.len() as usize).sum()
}
