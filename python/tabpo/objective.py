"""TAB-PO's loss in PyTorch: what `tabpo objective --list` shows as `tab-po`."""

import dataclasses
import math
from typing import Optional

import torch
import torch.nn.functional as F

DECISIONS = ("entity-label", "subtype", "relation-label", "link")
"""The roles that decide what an answer means."""


def default_role_weights():
    """The weight of each role by default."""
    halves = {"scaffold": 0.5, "span": 0.5, "occurrence": 0.5}
    return {**dict.fromkeys((*DECISIONS, "end"), 1.0), **halves}


@dataclasses.dataclass
class TabPO:
    """Hyper-parameters, under the names and with the defaults of `tabpo`."""

    beta: float = 0.1
    """Inverse temperature of the preference term."""
    preference: float = 0.0
    """Weight of the preference term. Only with it is a reference model needed."""
    target: Optional[float] = None
    """Margin in nats at which the preference term stops pushing."""
    decision: float = 0.1
    """Weight of the decision term."""
    decision_target: Optional[float] = 0.0
    """Lead of the right token, in nats, at which the decision term stops pushing."""
    barrier: float = 1.0
    """Weight of the barrier."""
    tau: float = 0.9
    """Confidence threshold of the barrier, a probability."""
    barrier_roles: tuple = DECISIONS
    """Roles in the barrier's scope."""
    anchor: float = 1.0
    """Weight of the likelihood of the chosen answers."""
    role_weights: dict = dataclasses.field(default_factory=default_role_weights)
    """Weight of a token by its role, in the margin and the barrier."""


@dataclasses.dataclass
class Answer:
    """One answer to a prompt, token by token; each field has an entry for every token."""

    policy: torch.Tensor
    """Log-probabilities under the policy."""
    roles: list
    """Names of roles."""
    differs: list
    """Whether the token differs from the other answer (`tabpo.alignment.differs`)."""
    reference: Optional[torch.Tensor] = None
    """Log-probabilities under the reference; needed for the preference term only."""


def tab_po(pairs, weights, settings):
    """The loss of a batch and its four terms, as a dict of scalars with the key `loss` for their sum.

    `pairs` are tuples of a chosen and a rejected `Answer`, `weights` their weights in the mean. For each pair

        alpha (-P_c / n_c)                                            anchor
        + lambda sum_t v_t max(0, log tau - p_ct) / max(1, sum v)     barrier
        - kappa_d log sigmoid(min(p_ck - p_rk, target_d))             decision, where the answers part
        - kappa_p log sigmoid(beta min(h, target))                    preference

    with `h` the sum over the differing tokens of v (p - q), chosen minus rejected.
    """
    total = sum(weights)
    sums = {"anchor": 0.0, "barrier": 0.0, "decision": 0.0, "preference": 0.0}
    for (chosen, rejected), weight in zip(pairs, weights, strict=True):
        share = weight / total if total > 0 else 0.0
        for name, term in _terms(chosen, rejected, settings).items():
            sums[name] = sums[name] + share * term
    return {"loss": sum(sums.values()), **sums}


def _terms(chosen, rejected, settings):
    """The terms of one pair, with their weights."""
    point = min(_first(chosen.differs), _first(rejected.differs))
    terms = {}
    if settings.anchor > 0 and len(chosen.policy) > 0:
        terms["anchor"] = -settings.anchor * chosen.policy.mean()
    if settings.barrier > 0:
        scope = _weights(chosen, settings, lambda t: chosen.roles[t] in settings.barrier_roles)
        shortfall = (math.log(settings.tau) - chosen.policy).clamp(min=0)
        terms["barrier"] = settings.barrier * (scope * shortfall).sum() / scope.sum().clamp(min=1)
    if settings.decision > 0 and point < min(len(chosen.policy), len(rejected.policy)):
        lead = chosen.policy[point] - rejected.policy[point]
        terms["decision"] = -settings.decision * F.logsigmoid(_at_most(lead, settings.decision_target))
    if settings.preference > 0:
        margin = _margin(chosen, point, settings) - _margin(rejected, point, settings)
        bounded = settings.beta * _at_most(margin, settings.target)
        terms["preference"] = -settings.preference * F.logsigmoid(bounded)
    return terms


def _margin(answer, point, settings):
    weights = _weights(answer, settings, lambda t: answer.differs[t] or t == point)
    return (weights * (answer.policy - answer.reference)).sum()


def _weights(answer, settings, counts):
    """The weight of every token's role; 0 where a token does not count."""
    values = [settings.role_weights[role] if counts(t) else 0.0 for t, role in enumerate(answer.roles)]
    return answer.policy.new_tensor(values)


def _first(flags):
    """The place of the first flag that is set, or the length."""
    return next((t for t, flag in enumerate(flags) if flag), len(flags))


def _at_most(value, limit):
    """A value up to a limit, beyond which it is constant: at the limit, nothing pushes any more."""
    return value if limit is None else torch.where(value < limit, value, torch.full_like(value, limit))
