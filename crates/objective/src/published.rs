//! The objectives behind published figures, under the names and with the hyper-parameters of the
//! file of golden numbers (`tests/fixtures`): the same inputs in the same layout give figures to compare.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tabpo_roles::Role;

use crate::{Completion, Normaliser, Objective, Pair, PairLoss, weights};

/// Per-token inputs of a few pairs: for each pair one list per quantity and side.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names of the file's keys say what they hold")]
pub struct Inputs {
    pub policy_chosen: Vec<Vec<f64>>,
    pub policy_rejected: Vec<Vec<f64>>,
    pub ref_chosen: Vec<Vec<f64>>,
    pub ref_rejected: Vec<Vec<f64>>,
    pub weights_chosen: Vec<Vec<f64>>,
    pub weights_rejected: Vec<Vec<f64>>,
    pub diff_chosen: Vec<Vec<u8>>,
    pub diff_rejected: Vec<Vec<u8>>,
    pub kl_ref_policy_chosen: Vec<Vec<f64>>,
    pub kl_ref_policy_rejected: Vec<Vec<f64>>,
    pub tis_raw_chosen: Vec<Vec<f64>>,
    pub tis_raw_rejected: Vec<Vec<f64>>,
    /// Roles of the tokens, for [`evaluate_one`]; without them, every token is scaffolding.
    #[serde(default)]
    pub role_names_chosen: Option<Vec<Vec<Role>>>,
    #[serde(default)]
    pub role_names_rejected: Option<Vec<Vec<Role>>>,
    /// A weight of at least 0 for each pair, for [`evaluate_one`]; without them, every pair weighs 1.
    #[serde(default)]
    pub pair_weights: Option<Vec<f64>>,
}

/// Loss and gradients of one objective on all pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The batch loss.
    pub loss: f64,
    /// dL/dp for each pair's chosen tokens.
    pub grad_policy_chosen: Vec<Vec<f64>>,
    /// dL/dp for each pair's rejected tokens.
    pub grad_policy_rejected: Vec<Vec<f64>>,
    /// dL/dK for each pair's chosen positions, where the objective has a KL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_kl_chosen: Option<Vec<Vec<f64>>>,
    /// dL/dK for each pair's rejected positions, where the objective has a KL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_kl_rejected: Option<Vec<Vec<f64>>>,
}

/// Lists of one pair that differ in length.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{quantity}` has {found} values for pair {pair}, where the policy has {expected} tokens")]
pub struct ShapeError {
    /// The key of the list at fault.
    pub quantity: &'static str,
    /// The pair, counted from 0.
    pub pair: usize,
    /// Values found.
    pub found: usize,
    /// Values that it should have.
    pub expected: usize,
}

/// One published figure: its objective and how its inputs are prepared.
struct Published {
    name: &'static str,
    objective: &'static str,
    parameters: Value,
    token_weights: TokenWeights,
    pair_weights: [f64; 3],
}

/// Where the token weights of a published figure come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenWeights {
    /// The lists `weights_*`.
    Given,
    /// The lists `tis_raw_*`, clamped and scaled.
    ThresholdAndScale,
    /// The lists `tis_raw_*`, by rank.
    RankBased,
}

impl Published {
    fn new(name: &'static str, objective: &'static str, parameters: Value) -> Self {
        Self { name, objective, parameters, token_weights: TokenWeights::Given, pair_weights: [1.0; 3] }
    }

    fn objective(&self) -> Objective {
        let parameters = self.parameters.as_object().expect("the table holds objects");
        Objective::with(self.objective, parameters).expect("the table names objectives of the catalogue")
    }
}

fn table() -> Vec<Published> {
    let mut table: Vec<Published> = [
        ("dpo", "dpo", json!({"beta": 0.1})),
        ("dpo_beta0.5", "dpo", json!({"beta": 0.5})),
        ("hinge", "hinge", json!({"beta": 0.1})),
        ("ipo_trl_lengthnorm", "ipo", json!({"tau": 0.1})),
        ("exo_pair", "exo", json!({"beta": 0.1, "epsilon": 1e-3})),
        ("nca_pair", "nca", json!({"beta": 0.1})),
        ("robust", "robust", json!({"beta": 0.1, "epsilon": 0.1})),
        ("bco_pair_trl", "bco", json!({"beta": 0.1, "delta": 0.0})),
        ("sppo_hard", "sppo", json!({"beta": 0.1})),
        ("apo_zero", "apo-zero", json!({"beta": 0.1, "z": 0.0})),
        ("apo_down", "apo-down", json!({"beta": 0.1})),
        ("discopop", "discopop", json!({"beta": 0.1, "tau": 0.05})),
        ("sft_trl_pooled", "sft", json!({"pooling": "tokens"})),
        ("sigmoid_norm", "sigmoid-norm", json!({"beta": 2.0})),
        ("ld_dpo", "ld-dpo", json!({"beta": 0.1, "alpha": 0.5})),
        ("fdpo_js", "f-dpo-js", json!({"beta": 0.1})),
        ("rpo_trl_pooled", "rpo", json!({"beta": 0.1, "alpha": 1.0})),
        ("cdpo", "cdpo", json!({"beta": 0.1, "epsilon": 0.1})),
        ("ipo_sum", "ipo-sum", json!({"tau": 0.1})),
        ("cpo", "cpo", json!({"beta": 0.1, "alpha": 1.0})),
        ("simpo", "simpo", json!({"beta": 2.0, "gamma": 1.0})),
        ("alphapo", "alphapo", json!({"beta": 2.0, "gamma": 1.0, "alpha": 0.25})),
        ("slic_hinge_cpo_no_ref", "cpo-hinge", json!({"beta": 0.1})),
        ("orpo_trl_or_term", "orpo", json!({"beta": 0.1, "likelihood": 0.0})),
        ("orpo", "orpo", json!({"beta": 0.1, "likelihood": 1.0})),
        ("rpo_per_sequence", "rpo-sequence", json!({"beta": 0.1, "alpha": 1.0})),
        ("kto_z0.0", "kto", json!({"beta": 0.1, "z": 0.0})),
        ("kto_z0.35", "kto", json!({"beta": 0.1, "z": 0.35})),
        ("authors_dpo", "authors-dpo", json!({})),
        ("authors_simpo", "authors-simpo", json!({})),
        ("authors_ipo", "authors-ipo", json!({})),
        ("authors_cal_dpo", "authors-cal-dpo", json!({})),
        ("dpop_lambda1_authors", "authors-dpop", json!({})),
        ("dpop_beta0.1_lambda5", "dpop", json!({"beta": 0.1, "lambda": 5.0})),
        ("dpop_beta0.3_lambda50", "dpop", json!({"beta": 0.3, "lambda": 50.0})),
        ("cal_dpo", "cal-dpo", json!({"beta": 0.01})),
        ("tdpo1", "tdpo1", json!({"beta": 0.1})),
        ("tdpo2", "tdpo2", json!({"beta": 0.1, "alpha": 0.5})),
        ("tis_dpo_threshold_and_scale", "tis-dpo", json!({"beta": 0.1})),
        ("tis_dpo_rank_based", "tis-dpo", json!({"beta": 0.1})),
        ("confpo", "confpo", json!({"beta": 1.5, "gamma": 1.6})),
        ("tgdpo", "tgdpo", json!({"beta": 0.1, "alpha": 0.5})),
        ("d2po", "d2po", json!({"beta": 0.1, "gamma": 0.98})),
        ("diff_token_only_dpo", "diff-only", json!({"beta": 0.1})),
        ("focalpo_own", "focalpo", json!({"beta": 0.1, "gamma": 0.05})),
        ("tabpo_released", "tab-po-released", json!({})),
        ("tabpo_released_lambda0", "tab-po-released", json!({"lambda": 0.0})),
        ("tabpo_released_tau0.95", "tab-po-released", json!({"tau": 0.95})),
        ("tabpo_paper_v2_secondhand", "tab-po-paper-v2", json!({})),
        ("tabpo_ablation_defaults", "tab-po-ablation", json!({})),
        ("tabpo_ablation_all_off", "tab-po-ablation", json!({"form": "sum", "margin_weights": false})),
        ("tabpo_ablation_classbalance", "tab-po-ablation", json!({"form": "sum", "margin_weights": false})),
    ]
    .into_iter()
    .map(|(name, objective, parameters)| Published::new(name, objective, parameters))
    .collect();
    for row in &mut table {
        match row.name {
            "tis_dpo_threshold_and_scale" => row.token_weights = TokenWeights::ThresholdAndScale,
            "tis_dpo_rank_based" => row.token_weights = TokenWeights::RankBased,
            // The example weights of the class balance that the figure was made with.
            "tabpo_ablation_classbalance" => row.pair_weights = [0.5, 1.0, 2.0],
            _ => {}
        }
    }
    table
}

/// Evaluates every published figure's objective on `inputs`, in the order of the golden file.
///
/// # Errors
/// [`ShapeError`] where lists of one pair differ in length.
pub fn evaluate(inputs: &Inputs) -> Result<Vec<(&'static str, Figures)>, ShapeError> {
    let pairs = |row: &Published| pairs(inputs, row.token_weights, &row.pair_weights);
    table().iter().map(|row| Ok((row.name, figures(&row.objective(), &pairs(row)?)))).collect()
}

/// Evaluates one objective on `inputs`, with the roles of their tokens and the weights of their pairs. Inputs hold neither
/// the model's own answers nor decisions of lists nor groups of labels, so an objective must not need these.
///
/// # Errors
/// [`ShapeError`] where lists of one pair differ in length.
pub fn evaluate_one(inputs: &Inputs, objective: &Objective) -> Result<Figures, ShapeError> {
    let mut pairs = pairs(inputs, TokenWeights::Given, &[1.0])?;
    for (number, pair) in pairs.iter_mut().enumerate() {
        for (quantity, roles, completion) in [
            ("role_names_chosen", &inputs.role_names_chosen, &mut pair.chosen),
            ("role_names_rejected", &inputs.role_names_rejected, &mut pair.rejected),
        ] {
            let Some(roles) = roles else { continue };
            let roles = roles.get(number).map_or(&[][..], Vec::as_slice);
            let (found, expected) = (roles.len(), completion.len());
            if found != expected {
                return Err(ShapeError { quantity, pair: number, found, expected });
            }
            completion.roles = roles.to_vec();
        }
        if let Some(weights) = &inputs.pair_weights {
            let (quantity, found, expected) = ("pair_weights", weights.len(), inputs.policy_chosen.len());
            pair.weight = *weights.get(number).ok_or(ShapeError { quantity, pair: number, found, expected })?;
        }
    }
    Ok(figures(objective, &pairs))
}

/// The batch loss and gradients of one objective.
fn figures(objective: &Objective, pairs: &[Pair]) -> Figures {
    let normaliser = Normaliser::of(pairs);
    let losses: Vec<PairLoss> = pairs.iter().map(|pair| objective.evaluate(pair, &normaliser)).collect();
    let collect = |part: fn(&PairLoss) -> &Vec<f64>| losses.iter().map(|loss| part(loss).clone()).collect();
    let kl = objective.needs().kl;
    Figures {
        loss: losses.iter().map(|loss| loss.loss).sum(),
        grad_policy_chosen: collect(|loss| &loss.chosen.logp),
        grad_policy_rejected: collect(|loss| &loss.rejected.logp),
        grad_kl_chosen: kl.then(|| collect(|loss| &loss.chosen.kl)),
        grad_kl_rejected: kl.then(|| collect(|loss| &loss.rejected.kl)),
    }
}

/// The pairs of the inputs. The weights of pairs repeat.
fn pairs(inputs: &Inputs, token_weights: TokenWeights, pair_weights: &[f64]) -> Result<Vec<Pair>, ShapeError> {
    (0..inputs.policy_chosen.len())
        .map(|pair| {
            let chosen = Side {
                pair,
                policy: ("policy_chosen", &inputs.policy_chosen),
                reference: ("ref_chosen", &inputs.ref_chosen),
                differs: ("diff_chosen", &inputs.diff_chosen),
                kl: ("kl_ref_policy_chosen", &inputs.kl_ref_policy_chosen),
                weights: ("weights_chosen", &inputs.weights_chosen),
                contrast: ("tis_raw_chosen", &inputs.tis_raw_chosen),
            };
            let rejected = Side {
                pair,
                policy: ("policy_rejected", &inputs.policy_rejected),
                reference: ("ref_rejected", &inputs.ref_rejected),
                differs: ("diff_rejected", &inputs.diff_rejected),
                kl: ("kl_ref_policy_rejected", &inputs.kl_ref_policy_rejected),
                weights: ("weights_rejected", &inputs.weights_rejected),
                contrast: ("tis_raw_rejected", &inputs.tis_raw_rejected),
            };
            Ok(Pair {
                chosen: chosen.completion(token_weights, weights::negated)?,
                rejected: rejected.completion(token_weights, <[f64]>::to_vec)?,
                weight: pair_weights[pair % pair_weights.len()],
            })
        })
        .collect()
}

/// A key of the file and its lists, one for each pair.
type Lists<'a, T> = (&'static str, &'a [Vec<T>]);

/// The lists that make up one side of one pair.
struct Side<'a> {
    pair: usize,
    policy: Lists<'a, f64>,
    reference: Lists<'a, f64>,
    differs: Lists<'a, u8>,
    kl: Lists<'a, f64>,
    weights: Lists<'a, f64>,
    contrast: Lists<'a, f64>,
}

impl Side<'_> {
    /// The completion; `oriented` turns the contrast scores so that high means a high weight.
    fn completion(
        &self,
        token_weights: TokenWeights,
        oriented: fn(&[f64]) -> Vec<f64>,
    ) -> Result<Completion, ShapeError> {
        let policy = self.list(&self.policy)?;
        let reference = self.list(&self.reference)?;
        let contrast = || Ok(oriented(self.list(&self.contrast)?));
        let weights = match token_weights {
            TokenWeights::Given => self.list(&self.weights)?.to_vec(),
            TokenWeights::ThresholdAndScale => weights::threshold_and_scale(&contrast()?),
            TokenWeights::RankBased => weights::rank_based(&contrast()?),
        };
        Ok(Completion {
            differs: self.list(&self.differs)?.iter().map(|flag| *flag != 0).collect(),
            kl: self.list(&self.kl)?.to_vec(),
            // The guide model of the published figure lies half way between reference and policy.
            guide: policy.iter().zip(reference).map(|(p, q)| q + 0.5 * (p - q)).collect(),
            weights,
            ..Completion::new(policy.to_vec(), reference.to_vec())
        })
    }

    /// The list of this pair, which must be as long as the policy's.
    fn list<'b, T>(&self, lists: &Lists<'b, T>) -> Result<&'b [T], ShapeError> {
        let (quantity, lists) = *lists;
        let expected = self.policy.1.get(self.pair).map_or(0, Vec::len);
        let list = lists.get(self.pair).map_or(&[][..], Vec::as_slice);
        if list.len() == expected {
            Ok(list)
        } else {
            Err(ShapeError { quantity, pair: self.pair, found: list.len(), expected })
        }
    }
}
