//! Token roles: where the gradient falls, and how the likelihood changes.

use maud::{Markup, html};

use super::{format, tools};
use crate::{RoleChange, RoleShares, Term};

/// A change of this many nats per token is shown in the full shade.
const FULL_SHADE: f64 = 2.0;

pub(super) fn gradients(shares: &RoleShares, roles: &[Term]) -> Markup {
    html! {
        p.note {
            "Share of |dL/dlogp|, the gradient of the loss by the log-probability of each token, that falls on tokens of each role: "
            "the mean over the last steps of training. Shares below 7 % carry no number; point at them for it. "
            "Gradient on scaffold tokens teaches the format, not the task."
        }
        (tools::terms("What the token roles are", roles.iter().cloned()))
        ul.legend {
            @for (index, role) in shares.roles.iter().enumerate() { li { span class={ "swatch block " (colour(index, role)) } {} (role) } }
        }
        table.stacked {
            tbody {
                @for objective in &shares.objectives {
                    tr {
                        th scope="row" { (objective.name) }
                        td {
                            @if !objective.shares.iter().any(|share| *share > 0.0) { span.hint { "–" } }
                            div.stack {
                                @for (index, (role, share)) in shares.roles.iter().zip(&objective.shares).enumerate() {
                                    @if *share > 0.0 {
                                        @let percent = format::fixed(share * 100.0, 1);
                                        span class=(colour(index, role)) style={ "width:" (format!("{:.2}%", share * 100.0)) }
                                            title={ (role) ": " (percent) " %" } {
                                            @if *share >= 0.07 { (format::fixed(share * 100.0, 0)) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn erosion(changes: &[RoleChange]) -> Markup {
    let mut roles: Vec<&str> = Vec::new();
    for role in changes.iter().flat_map(|change| &change.roles) {
        if !roles.contains(&role.as_str()) {
            roles.push(role);
        }
    }
    let rejected = changes.iter().any(|change| change.rejected.iter().any(Option::is_some));
    html! {
        p.note {
            "Mean change of log-probability per token since the reference, in nats. A preferred answer that loses "
            "likelihood (orange) is eroded; a rejected answer should lose it. Eroded: under-confident preferred label "
            "tokens that lost probability."
        }
        (change_table("Preferred answers", changes, &roles, |change| &change.chosen, true))
        @if rejected { (change_table("Rejected answers", changes, &roles, |change| &change.rejected, false)) }
    }
}

fn change_table(
    title: &str,
    changes: &[RoleChange],
    roles: &[&str],
    values: fn(&RoleChange) -> &Vec<Option<f64>>,
    show_eroded: bool,
) -> Markup {
    let show_eroded = show_eroded && changes.iter().any(|change| change.eroded.is_some());
    html! {
        figure {
            figcaption { (title) }
            div.scroll {
                table.change {
                    thead {
                        tr {
                            th {}
                            @for role in roles { th.number { (role) } }
                            @if show_eroded { th.number { "eroded" } }
                        }
                    }
                    tbody {
                        @for change in changes {
                            tr {
                                th scope="row" { (change.name) }
                                @for role in roles { (change_cell(change, role, values(change))) }
                                @if show_eroded {
                                    td.number {
                                        @match change.eroded {
                                            Some((eroded, of)) => { (format::count(eroded)) " of " (format::count(of)) }
                                            None => span.hint { "–" }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn change_cell(change: &RoleChange, role: &str, values: &[Option<f64>]) -> Markup {
    let place = change.roles.iter().position(|own| own == role);
    let value = place.and_then(|place| values.get(place).copied().flatten()).filter(|value| value.is_finite());
    let Some(value) = value else { return html! { td.number { span.hint { "–" } } } };
    let side = if value < 0.0 { "loss" } else { "gain" };
    let shade = (value.abs() / FULL_SHADE).min(1.0);
    let sign = if value > 0.0 { "+" } else { "" };
    html! {
        td class={ "number " (side) } style={ "--v:" (format!("{shade:.3}")) } { (sign) (format::fixed(value, 3)) }
    }
}

/// Scaffold and the end of the turn are grey; roles that carry meaning have colours.
fn colour(index: usize, role: &str) -> String {
    match role {
        "scaffold" => "grey".to_owned(),
        "end" => "grey light".to_owned(),
        _ => super::chart::stroke(index),
    }
}
