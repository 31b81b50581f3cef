//! `tabpo objective`: lists the objectives, and evaluates them on given inputs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tabpo_objective::published::{self, Inputs};
use tabpo_objective::{Needs, Objective, OwnAnswers, Reach, WeightSource, catalogue};

use crate::error::{CliError, ResultExt};
use crate::output::{self, Context};

/// Arguments of `tabpo objective`.
#[derive(clap::Args)]
pub(crate) struct ObjectiveArgs {
    #[command(flatten)]
    action: Action,
    /// Evaluate this objective instead, with the roles and weights that the inputs may have: its name, or a JSON object such
    /// as {"name": "tab-po", "preference": 1}
    #[arg(long, value_name = "NAME|JSON", requires = "inputs", value_parser = objective)]
    objective: Option<Objective>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Action {
    /// List every objective: formula, needs, default hyper-parameters, source
    #[arg(long)]
    list: bool,
    /// Evaluate the published objectives on per-token inputs: loss and gradients
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
}

/// An objective by its name, or with hyper-parameters of its own.
fn objective(text: &str) -> Result<Objective, String> {
    let text = text.trim();
    let value = if text.starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        Value::from(text)
    };
    let objective = Objective::try_from(value).map_err(|error| error.to_string())?;
    let needs = objective.needs();
    if needs.own != OwnAnswers::None || needs.credit || needs.weights == WeightSource::Groups {
        return Err(format!("`{}` needs more than per-token inputs", objective.name()));
    }
    Ok(objective)
}

/// Runs the command.
pub(crate) fn run(arguments: ObjectiveArgs, _: &Context) -> Result<(), CliError> {
    let objective = arguments.objective.as_ref();
    match (arguments.action.inputs, arguments.json) {
        (Some(path), true) => output::print_json(&json!({"objectives": evaluate(&path, objective)?})),
        (Some(path), false) => {
            let losses = evaluate(&path, objective)?;
            let lines = losses.iter().map(|(name, figures)| format!("{name:32} {}\n", figures["loss"]));
            output::print(&lines.collect::<String>())
        }
        (None, true) => output::print_json(&list()),
        (None, false) => output::print(&list().iter().map(Listed::lines).collect::<String>()),
    }
}

/// An objective as `--list` shows it.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    formula: &'static str,
    source: &'static str,
    needs: Needs,
    defaults: Map<String, Value>,
}

fn list() -> Vec<Listed> {
    catalogue()
        .iter()
        .map(|entry| Listed {
            name: entry.name,
            formula: entry.summary,
            source: entry.source,
            needs: entry.needs(),
            defaults: entry.defaults(),
        })
        .collect()
}

impl Listed {
    fn lines(&self) -> String {
        let set = self.defaults.iter().filter(|(_, value)| !value.is_null());
        let defaults: Vec<String> = set.map(|(key, value)| format!("{key} = {value}")).collect();
        format!(
            "{}\n  loss      {}\n  needs     {}\n  defaults  {}\n  source    {}\n\n",
            self.name,
            self.formula,
            needs(self.needs),
            if defaults.is_empty() { "none".to_owned() } else { defaults.join(", ") },
            self.source,
        )
    }
}

/// The needs in words.
fn needs(needs: Needs) -> String {
    let mut words = vec!["policy"];
    words.extend(match needs.rejected {
        Reach::Nothing => None,
        Reach::Divergence => Some("rejected completions up to their first differing token"),
        Reach::Whole => Some("rejected completions"),
    });
    words.extend(needs.reference.then_some("reference"));
    words.extend(needs.kl.then_some("vocabulary KL"));
    words.extend(needs.guide.then_some("guide model"));
    words.extend(match needs.own {
        OwnAnswers::None => None,
        OwnAnswers::Greedy => Some("the model's own answers"),
        OwnAnswers::Sampled => Some("answers sampled from the model"),
    });
    words.extend(needs.credit.then_some("list decisions and wrong items"));
    words.extend(match needs.weights {
        WeightSource::None => None,
        WeightSource::Released => Some("token weights of the public TAB-PO script"),
        WeightSource::Contrastive => Some("token weights from two contrastive models"),
        WeightSource::External => Some("external token weights"),
        WeightSource::Groups => Some("moving losses of labels"),
    });
    words.join(", ")
}

/// Loss and gradients by published name, or of one objective by its own. The file holds the inputs, or an object with them under
/// the key `inputs`.
fn evaluate(path: &Path, objective: Option<&Objective>) -> Result<Map<String, Value>, CliError> {
    let in_file = |error: CliError| error.context(format!("cannot use {}", path.display()));
    let text = tabpo_files::read_text(path).or_input().map_err(in_file)?;
    let mut content: Value = serde_json::from_str(&text).or_input().map_err(in_file)?;
    if let Some(inputs) = content.get_mut("inputs") {
        content = inputs.take();
    }
    let inputs = Inputs::deserialize(content).or_input().map_err(in_file)?;
    let figures = match objective {
        Some(objective) => published::evaluate_one(&inputs, objective).map(|figures| vec![(objective.name(), figures)]),
        None => published::evaluate(&inputs),
    };
    let figures = figures.or_input().map_err(in_file)?;
    Ok(figures
        .into_iter()
        .map(|(name, figures)| (name.to_owned(), serde_json::to_value(figures).expect("figures are lists of numbers")))
        .collect())
}
