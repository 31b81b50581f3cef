"""TabPOTrainer on pairs that `tabpo` built and exported, against the program's own figures."""

import json
import os
import tempfile
import unittest
import warnings

from support import needs, tabpo, tabpo_json, tiny_run

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@needs("torch", "trl", "transformers", "datasets")
class Trainer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        run = tiny_run(cls.folder.name)
        cls.model = os.path.join(run, "sft", "policy")
        cls.ontology = os.path.join(ROOT, "examples", "scierc", "ontology.toml")
        cls.pairs = os.path.join(run, "pairs", "pairs.jsonl")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def exported(self, form, count):
        """The first exported pairs."""
        lines = tabpo("pairs", "export", self.pairs, "--format", form, "--ontology", self.ontology, "--roles")
        return [json.loads(line) for line in lines.splitlines()[:count]]

    def trainer(self, rows, **settings):
        import datasets
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from tabpo import TabPOConfig, TabPOTrainer

        tokenizer = AutoTokenizer.from_pretrained(self.model)
        tokenizer.pad_token = tokenizer.eos_token
        if not isinstance(rows[0]["prompt"], str):
            tokenizer.chat_template = TEMPLATE.replace("<eos>", tokenizer.eos_token)
        config = TabPOConfig(
            output_dir=os.path.join(self.folder.name, "out"),
            per_device_train_batch_size=len(rows),
            max_steps=3,
            learning_rate=1e-3,
            max_length=None,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            tab_po=settings,
        )
        model = AutoModelForCausalLM.from_pretrained(self.model, dtype="float32")
        return TabPOTrainer(
            model, args=config, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer
        )

    def batch(self, trainer):
        return next(iter(trainer.get_train_dataloader()))

    def figures(self, trainer, batch, settings):
        """What the program says of the model's log-probabilities of a batch."""
        import torch

        from tabpo.alignment import ROLES

        with torch.no_grad():
            logits = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        # Worked out in another way than in the trainer.
        log_probs = torch.log_softmax(logits.double(), dim=-1)
        numbers = {}
        half = len(batch["weight"])
        for side, rows in (("chosen", range(half)), ("rejected", range(half, 2 * half))):
            found = {key: [] for key in ("policy", "ref", "weights", "diff", "kl_ref_policy", "tis_raw", "role_names")}
            for row in rows:
                places = [t for t, used in enumerate(batch["completion_mask"][row].tolist()) if used]
                own = [log_probs[row, t - 1, batch["input_ids"][row, t]].item() for t in places]
                found["policy"].append(own)
                # The reference is the model before its first step: the same.
                found["ref"].append(own)
                found["diff"].append([int(batch["differs"][row, t]) for t in places])
                found["role_names"].append([ROLES[batch["token_roles"][row, t]] for t in places])
                for key in ("weights", "kl_ref_policy", "tis_raw"):
                    found[key].append([0.0] * len(places))
            numbers.update({f"{key}_{side}": value for key, value in found.items()})
        numbers["pair_weights"] = batch["weight"].tolist()
        path = os.path.join(self.folder.name, "inputs.json")
        with open(path, "w") as file:
            json.dump(numbers, file)
        objective = json.dumps({"name": "tab-po", **settings})
        return numbers, tabpo_json("objective", "--inputs", path, "--objective", objective)["objectives"]["tab-po"]

    def test_the_loss_is_that_of_the_program(self):
        for form in ("trl", "trl-chat"):
            for settings in ({}, {"preference": 1.0, "decision": 0.3}):
                with self.subTest(form=form, settings=settings):
                    rows = self.exported(form, 6)
                    rows[1]["weight"] = 0.25
                    trainer = self.trainer(rows, **settings)
                    batch = self.batch(trainer)
                    loss = trainer.compute_loss(trainer.model, batch)
                    numbers, figures = self.figures(trainer, batch, settings)
                    self.assertAlmostEqual(loss.item(), figures["loss"], delta=1e-5 * figures["loss"])
                    self.assertEqual(sorted(numbers["pair_weights"]), sorted(row["weight"] for row in rows))
                    roles = {role for answer in numbers["role_names_chosen"] for role in answer}
                    self.assertLessEqual({"scaffold", "span", "entity-label", "end"}, roles)
                    for answer in numbers["role_names_chosen"] + numbers["role_names_rejected"]:
                        self.assertEqual((answer.count("end"), answer[-1]), (1, "end"))

    def test_roles_are_on_the_right_tokens(self):
        trainer = self.trainer(self.exported("trl-chat", 6))
        tokenizer = trainer.processing_class
        from tabpo.alignment import ROLES

        for row in trainer.train_dataset:
            for side in ("chosen", "rejected"):
                tokens = tokenizer.convert_ids_to_tokens(row[f"{side}_ids"])
                self.assertEqual(tokens[-1], tokenizer.eos_token)
                text = tokenizer.decode(row[f"{side}_ids"][:-1])
                answer = json.loads(text)
                labels = [e["type"] for e in answer["entities"]]
                # The tokens of labels, put together, are the labels, with at most the punctuation that shares a token.
                runs, last = [], None
                for token, role in zip(row[f"{side}_ids"], row[f"{side}_token_roles"]):
                    if ROLES[role] == "entity-label":
                        runs = runs + [[token]] if last != "entity-label" else [*runs[:-1], [*runs[-1], token]]
                    last = ROLES[role]
                found = [tokenizer.decode(run).strip('":,{}[] ') for run in runs]
                self.assertEqual(found, labels)

    def test_training_lowers_the_loss(self):
        trainer = self.trainer(self.exported("trl-chat", 4))
        batch = self.batch(trainer)
        before = trainer.compute_loss(trainer.model, batch).item()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train()
        self.assertLess(trainer.compute_loss(trainer.model, batch).item(), before)
        logged = [entry for entry in trainer.state.log_history if "tab_po/anchor" in entry]
        self.assertEqual(len(logged), 3)

    def test_pairs_without_roles_are_refused(self):
        rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in self.exported("trl", 2)]
        with self.assertRaisesRegex(ValueError, "tabpo pairs export --roles"):
            self.trainer(rows)


if __name__ == "__main__":
    unittest.main()
