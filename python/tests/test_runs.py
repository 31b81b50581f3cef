"""A run's folder as data frames, against the files themselves."""

import json
import os
import tempfile
import unittest

from support import needs, tiny_run


@needs("pandas")
class Runs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.directory = tiny_run(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_tables_hold_what_the_files_hold(self):
        from tabpo import read_run

        run = read_run(self.directory)
        with open(os.path.join(self.directory, "metrics.jsonl")) as file:
            steps = [json.loads(line) for line in file]
        self.assertEqual(run.metrics["loss"].tolist(), [step["loss"] for step in steps])
        self.assertEqual(run.metrics["stage"].tolist(), [step["stage"] for step in steps])
        share = run.metrics["roles.scaffold.net_gradient_share"].tolist()
        self.assertEqual(share[0], steps[0]["roles"]["scaffold"]["net_gradient_share"])

        with open(os.path.join(self.directory, "comparison.json")) as file:
            comparison = json.load(file)["comparison"]
        names = [system["name"] for system in comparison["systems"]]
        table = run.scores.pivot(index="system", columns="metric", values="value")
        self.assertEqual(sorted(table.index), sorted(names))
        first = comparison["systems"][0]
        for score in first["scores"]:
            found = table.loc[first["name"], score["metric"]]
            self.assertTrue(found == score["value"] or (score["value"] is None and found != found))
        self.assertEqual(len(run.differences), len(comparison["differences"]) * len(comparison["metrics"]))

        answers = run.predictions[run.predictions["split"] == "test"]
        self.assertEqual(set(answers["system"]), set(names))
        counts = answers.groupby("system")["output"].count()
        self.assertEqual(len(set(counts)), 1, counts)
        with open(os.path.join(self.directory, "sft", "test.jsonl")) as file:
            expected = [json.loads(line) for line in file]
        own = answers[answers["system"] == "sft"]
        self.assertEqual(own["output"].tolist(), [line["output"] for line in expected])
        self.assertEqual(own["sent"].tolist(), [line["sent"] for line in expected])
        trained = answers[answers["system"] == "tab-po"]
        self.assertEqual(set(trained["seed"]), {1})
        self.assertTrue((trained["learning_rate"] > 0).all())

    def test_a_torn_line_of_a_run_that_goes_on_is_left_out(self):
        from tabpo import read_run

        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "metrics.jsonl"), "w") as file:
                file.write('{"kind":"step","stage":"sft","step":1,"loss":2.5}\n{"kind":"step","sta')
            run = read_run(folder)
            self.assertEqual(run.metrics["loss"].tolist(), [2.5])
            self.assertTrue(run.scores.empty and run.predictions.empty)

    def test_other_folders_are_refused(self):
        from tabpo import read_run

        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(ValueError, "not the folder of a run"):
                read_run(folder)
            with self.assertRaises(FileNotFoundError):
                read_run(os.path.join(folder, "missing"))


if __name__ == "__main__":
    unittest.main()
