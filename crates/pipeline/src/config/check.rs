//! Checks that the types of a configuration cannot express: which keys go together, which numbers are in range, which
//! names can be file names. They are made when a configuration is read, before anything is written.

use std::fmt::Display;

use tabpo_model::Projection;
use tabpo_ontology::AnswerForm;
use tabpo_pairs::Kind;

use super::{AdapterSection, Configuration, ModelSection, ThresholdChoice, TrainSection, names};
use crate::{
    error::Error,
    range::{self, Whole},
};

impl Configuration {
    /// Checks ranges, names and which keys go together, and returns the first error. A configuration that was read from
    /// a file has already been checked.
    pub fn check(&self) -> Result<(), Error> {
        documents(self)?;
        sizes(self)?;
        model(&self.model)?;
        if let Some(adapter) = &self.adapter {
            self::adapter(adapter)?;
            if self.model.folder.is_none() {
                rank_within("adapter.rank", adapter.rank, self.model.hidden)?;
            }
        }
        warmup(self)?;
        train("sft", &self.sft)?;
        pairs(self)?;
        preference(self)?;
        prediction(self)?;
        form(self)
    }
}

fn whole(key: &str, value: usize, range: Whole) -> Result<(), Error> {
    range.check(key, value as u64)
}

fn documents(config: &Configuration) -> Result<(), Error> {
    let data = &config.data;
    if data.synthetic.is_none() && data.train.is_none() {
        return Err(Error::input("[data] names no documents")
            .with_hint("give `train` and `test` files, or a [data.synthetic] section for the built-in corpus"));
    }
    if data.synthetic.is_some() && data.train.is_some() {
        return Err(Error::input("[data] names files and [data.synthetic] the built-in corpus")
            .with_hint("keep one of the two"));
    }
    if data.train.is_some() && data.test.is_none() {
        return Err(Error::input("[data] names no `test` file").with_hint("the systems are compared on it"));
    }
    if data.train.is_some() && config.ontology.file.is_none() {
        return Err(
            Error::input("[ontology] names no `file`").with_hint("documents of your own need an ontology of your own")
        );
    }
    if data.synthetic.is_some() && config.ontology.file.is_some() {
        return Err(Error::input("[ontology] names a file, but the built-in corpus has an ontology of its own")
            .with_hint("remove the [ontology] section, or name document files in [data]"));
    }
    if data.set_aside > 0 && data.curated.is_some() {
        return Err(Error::input("data.set_aside sets training documents aside, but `curated` names others")
            .with_hint("the preference stage learns from one or the other: remove one of the keys"));
    }
    if data.train.is_some() && data.validation.is_none() && data.hold_out == 0 {
        return Err(Error::input("data.hold_out is 0, and no `validation` file is named")
            .with_hint("name one, or hold out some training documents: error modes are measured on them"));
    }
    Ok(())
}

/// Checks the name, the seed, and the sizes of splits and samples.
fn sizes(config: &Configuration) -> Result<(), Error> {
    names::check("run.name", &config.run.name)?;
    if config.run.directory.as_ref().is_some_and(|directory| directory.as_os_str().is_empty()) {
        return Err(
            Error::input("run.directory is empty").with_hint("name a directory, or remove the key to use runs/NAME")
        );
    }
    range::SEED.check("run.seed", config.run.seed)?;
    whole("data.hold_out", config.data.hold_out, range::COUNT.or_none())?;
    whole("data.set_aside", config.data.set_aside, range::COUNT.or_none())?;
    if let Some(sizes) = &config.data.synthetic {
        for (key, size) in
            [("sft", sizes.sft), ("curated", sizes.curated), ("validation", sizes.validation), ("test", sizes.test)]
        {
            whole(&format!("data.synthetic.{key}"), size, range::SENTENCES)?;
        }
        range::SHARE.check("data.synthetic.label_bias", sizes.label_bias)?;
    }
    whole("evaluate.resamples", config.evaluate.resamples, range::RESAMPLES)
}

/// Checks the shape of a model from scratch.
fn model(model: &ModelSection) -> Result<(), Error> {
    whole("model.vocabulary", model.vocabulary, range::vocabulary())?;
    whole("model.hidden", model.hidden, range::WIDTH)?;
    whole("model.layers", model.layers, range::LAYERS)?;
    whole("model.heads", model.heads, range::HEADS)?;
    whole("model.kv_heads", model.kv_heads, range::HEADS)?;
    whole("model.intermediate", model.intermediate, range::INTERMEDIATE)?;
    if model.hidden.is_multiple_of(2 * model.heads) && model.heads.is_multiple_of(model.kv_heads) {
        return Ok(());
    }
    Err(Error::input(format!(
        "[model]: {} heads and {} key and value heads do not divide a width of {}",
        model.heads, model.kv_heads, model.hidden
    ))
    .with_hint("hidden / heads must be even, and heads a multiple of kv_heads"))
}

fn adapter(adapter: &AdapterSection) -> Result<(), Error> {
    whole("adapter.rank", adapter.rank, range::RANK)?;
    range::ALPHA.check("adapter.alpha", adapter.alpha)?;
    range::DROPOUT.check("adapter.dropout", adapter.dropout)?;
    let targets: Vec<&str> = adapter.targets.iter().map(|projection| projection.module()).collect();
    if targets.is_empty() {
        let valid = Projection::ALL.map(Projection::module).join(", ");
        return Err(Error::input("adapter.targets is empty")
            .with_hint(format!("an adapter needs a projection; valid are {valid}")));
    }
    once("adapter.targets", &targets)
}

/// Refuses a rank above the model's width, at which an update already has full rank.
pub fn rank_within(key: &str, rank: usize, width: usize) -> Result<(), Error> {
    if rank <= width {
        return Ok(());
    }
    Err(Error::input(format!("{key} is {rank}, above the model's width of {width}"))
        .with_hint("8 to 64 are usual; without an [adapter] all parameters are trained"))
}

fn warmup(config: &Configuration) -> Result<(), Error> {
    let Some(warmup) = &config.warmup else { return Ok(()) };
    if warmup.sentences == 0 && warmup.copies == 0 {
        return Err(Error::input("[warmup] has neither sentences nor copies")
            .with_hint("set warmup.sentences, warmup.copies or both, or remove the section"));
    }
    whole("warmup.sentences", warmup.sentences, range::SENTENCES.or_none())?;
    whole("warmup.copies", warmup.copies, range::FEW.or_none())?;
    range::SHARE.check("warmup.own_words", warmup.own_words)?;
    range::SHARE.check("warmup.replaced", warmup.replaced)?;
    train("warmup.train", &warmup.train)
}

/// Checks the settings of one training section.
fn train(name: &str, section: &TrainSection) -> Result<(), Error> {
    let key = |key: &str| format!("{name}.{key}");
    range::EPOCHS.check(&key("epochs"), section.epochs)?;
    if let Some(steps) = section.steps {
        whole(&key("steps"), steps, range::STEPS)?;
    }
    whole(&key("batch_size"), section.batch_size, range::BATCH)?;
    range::LEARNING_RATE.check(&key("learning_rate"), section.learning_rate)?;
    range::SHARE.check(&key("warmup"), section.warmup)?;
    range::WEIGHT_DECAY.check(&key("weight_decay"), section.weight_decay)?;
    range::CLIP
        .check(&key("clip"), section.clip)
        .map_err(|error| error.with_hint("with 1e9, gradients are never clipped"))?;
    whole(&key("max_tokens"), section.max_tokens, range::TOKENS)?;
    whole(&key("max_length"), section.max_length, range::TOKENS)?;
    whole(&key("checkpoint_every"), section.checkpoint_every, range::STEPS)?;
    section.memory_gb.map_or(Ok(()), |limit| range::MEMORY.check(&key("memory_gb"), limit))
}

fn pairs(config: &Configuration) -> Result<(), Error> {
    let pairs = &config.pairs;
    whole("pairs.per_example", pairs.per_example, range::FEW)?;
    whole("pairs.folds", pairs.folds, range::COUNT)
        .map_err(|error| error.with_hint("1 takes the SFT model's own answers; 2 to 10 are usual for cross-fitting"))?;
    whole("pairs.samples", pairs.samples, range::FEW)?;
    for (kind, &share) in &pairs.mix {
        range::WEIGHT.check(&format!("pairs.mix.{}", kind.escape_debug()), share)?;
    }
    if pairs.sources.is_empty() {
        return Err(Error::input("pairs.sources is empty").with_hint("for example sources = [\"modes\", \"patterns\"]"));
    }
    once("pairs.sources", &pairs.sources.iter().map(|share| share.source.name()).collect::<Vec<_>>())
}

fn preference(config: &Configuration) -> Result<(), Error> {
    let preference = &config.preference;
    if preference.objectives.is_empty() {
        return Err(Error::input("preference.objectives is empty").with_hint("for example objectives = [\"tab-po\"]"));
    }
    once("preference.objectives", &preference.objectives)?;
    for name in &preference.objectives {
        names::check("preference.objectives: a name", name)?;
    }
    let tables = || preference.system.keys().map(|name| ("[preference.system]:".to_owned(), name.as_str()));
    for (key, name) in tables() {
        names::check(&format!("{key} a name"), name)?;
    }
    names::distinct(tables())?;
    if preference.seeds.is_empty() {
        return Err(Error::input("preference.seeds is empty").with_hint("for example seeds = [1]"));
    }
    for &seed in &preference.seeds {
        range::SEED.check("preference.seeds: a seed", seed)?;
    }
    once("preference.seeds", &preference.seeds).map_err(|error| {
        error.with_hint("two runs with the same seed are the same run: use a different one for each")
    })?;
    for &rate in &preference.learning_rates {
        range::LEARNING_RATE.check("preference.learning_rates: a rate", rate)?;
    }
    once("preference.learning_rates", &preference.learning_rates)?;
    for (name, system) in &preference.system {
        if let Some(rate) = system.learning_rate {
            range::LEARNING_RATE.check(&format!("preference.system.{name}.learning_rate"), rate)?;
        }
    }
    train("preference.train", &preference.train)
}

fn prediction(config: &Configuration) -> Result<(), Error> {
    let predict = &config.predict;
    whole("predict.max_new_tokens", predict.max_new_tokens, range::ANSWER)?;
    whole("predict.batch_size", predict.batch_size, range::BATCH)?;
    predict.memory_gb.map_or(Ok(()), |limit| range::MEMORY.check("predict.memory_gb", limit))?;
    let remote = || predict.remote.keys().map(|name| ("[predict.remote]:".to_owned(), name.as_str()));
    for (key, name) in remote() {
        names::check(&format!("{key} a name"), name)?;
    }
    names::distinct(remote())
}

/// Checks that the form of answers fits what is done with them.
fn form(config: &Configuration) -> Result<(), Error> {
    if config.answer.form == AnswerForm::List {
        return Ok(());
    }
    if config.predict.threshold == ThresholdChoice::Tuned {
        return Err(Error::input("predict.threshold is tuned, but answer.form is marked")
            .with_hint("thresholds decide where lists end: use the form `list`, or set predict.threshold to `none`"));
    }
    let grounding = Kind::Grounding.name();
    if config.pairs.mix.get(grounding).is_some_and(|&share| share > 0.0) {
        return Err(Error::input(format!("pairs.mix.{grounding} is above 0, but answer.form is marked")).with_hint(
            "a text that is not in the source cannot be marked in it: leave this kind out, or use the form `list`",
        ));
    }
    Ok(())
}

/// Refuses a list with a duplicate.
fn once<T: PartialEq + Display>(key: &str, list: &[T]) -> Result<(), Error> {
    let again = list.iter().enumerate().find(|(index, value)| list[..*index].contains(value));
    again.map_or(Ok(()), |(_, value)| {
        let value = value.to_string();
        Err(Error::input(format!("{key} has `{}` twice", value.escape_debug())).with_hint("name it once"))
    })
}
