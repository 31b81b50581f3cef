"""The loss and its gradient against `tabpo objective --inputs`, on the same numbers."""

import json
import os
import random
import tempfile
import unittest

from support import needs, tabpo_json

KEYS = ["policy", "ref", "weights", "diff", "kl_ref_policy", "tis_raw", "role_names"]
SIDES = ("chosen", "rejected")


def inputs(seed, count):
    """Pairs of answers with random tokens, roles and log-probabilities, in the form of `tabpo objective --inputs`."""
    from tabpo.alignment import ROLES, differs

    numbers = random.Random(seed)
    found = {f"{key}_{side}": [] for key in KEYS for side in SIDES}
    for _ in range(count):
        answers = [[numbers.randrange(6) for _ in range(numbers.randrange(1, 14))] for _ in SIDES]
        shared = numbers.randrange(3)
        answers[1][:shared] = answers[0][:shared]
        for side, tokens, flags in zip(SIDES, answers, differs(*answers)):
            log_probs = lambda: [-numbers.expovariate(1.0) for _ in tokens]
            found[f"policy_{side}"].append(log_probs())
            found[f"ref_{side}"].append(log_probs())
            found[f"diff_{side}"].append([int(flag) for flag in flags])
            found[f"role_names_{side}"].append([numbers.choice(ROLES) for _ in tokens])
            for key in ("weights", "kl_ref_policy", "tis_raw"):
                found[f"{key}_{side}"].append([0.0] * len(tokens))
    found["pair_weights"] = [numbers.choice([0.25, 0.5, 1.0, 2.0]) for _ in range(count)]
    return found


@needs("torch")
class Loss(unittest.TestCase):
    def check(self, numbers, **settings):
        import torch

        from tabpo.objective import Answer, TabPO, tab_po

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "inputs.json")
            with open(path, "w") as file:
                json.dump(numbers, file)
            objective = json.dumps({"name": "tab-po", **settings})
            figures = tabpo_json("objective", "--inputs", path, "--objective", objective)["objectives"]["tab-po"]

        def tensors(key, grad):
            return [torch.tensor(x, dtype=torch.float64, requires_grad=grad) for x in numbers[key]]

        policy = {side: tensors(f"policy_{side}", True) for side in SIDES}
        reference = {side: tensors(f"ref_{side}", False) for side in SIDES}
        pairs = [
            tuple(
                Answer(
                    policy[side][pair],
                    numbers[f"role_names_{side}"][pair],
                    [bool(flag) for flag in numbers[f"diff_{side}"][pair]],
                    reference[side][pair],
                )
                for side in SIDES
            )
            for pair in range(len(numbers["pair_weights"]))
        ]
        terms = tab_po(pairs, numbers["pair_weights"], TabPO(**settings))
        terms["loss"].backward()
        self.assertAlmostEqual(terms["loss"].item(), figures["loss"], delta=1e-12)
        for side in SIDES:
            for tensor, expected in zip(policy[side], figures[f"grad_policy_{side}"], strict=True):
                found = [0.0] * len(expected) if tensor.grad is None else tensor.grad.tolist()
                for a, b in zip(found, expected, strict=True):
                    self.assertAlmostEqual(a, b, delta=1e-12)

    def test_every_term_alone_and_all_together(self):
        off = {"anchor": 0.0, "barrier": 0.0, "decision": 0.0}
        for seed, settings in enumerate(
            [
                {},
                {"preference": 1.0},
                {**off, "preference": 1.0, "beta": 0.5},
                {**off, "preference": 1.0, "target": 0.5},
                {**off, "anchor": 2.0},
                {**off, "barrier": 3.0, "tau": 0.5, "barrier_roles": ["span", "end"]},
                {**off, "decision": 1.0, "decision_target": None},
                {**off, "decision": 1.0, "decision_target": 0.7},
            ]
        ):
            with self.subTest(settings=settings):
                self.check(inputs(seed, 7), **settings)

    def test_defaults_are_those_of_the_program(self):
        import dataclasses

        from tabpo.objective import TabPO

        listed = {entry["name"]: entry["defaults"] for entry in tabpo_json("objective", "--list")}["tab-po"]
        own = dataclasses.asdict(TabPO())
        own["barrier_roles"] = list(own["barrier_roles"])
        # The form of the margin and a taper of the decision have no counterpart here.
        self.assertEqual(listed.pop("form"), "sum")
        self.assertIsNone(listed.pop("decision_taper", None))
        self.assertEqual({"target": None, **listed}, own)


if __name__ == "__main__":
    unittest.main()
