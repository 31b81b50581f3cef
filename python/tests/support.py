"""The program under test, and what tests need of it."""

import importlib.util
import json
import os
import subprocess
import unittest


def tabpo(*arguments, cwd=None):
    """Runs the program, and returns what it prints."""
    done = subprocess.run([os.environ.get("TABPO", "tabpo"), *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"tabpo {arguments} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def tabpo_json(*arguments, cwd=None):
    """What the program prints with --json."""
    return json.loads(tabpo(*arguments, "--json", cwd=cwd))


def needs(*packages):
    """Skips a test class where packages are missing; an error with REQUIRE=all."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("REQUIRE") == "all":
        raise ModuleNotFoundError(f"missing: {', '.join(missing)}")
    return unittest.skipIf(missing, f"missing: {', '.join(missing)}")


TINY = [
    "model.hidden=16",
    "model.layers=1",
    "model.heads=2",
    "model.kv_heads=2",
    "model.intermediate=32",
    "model.vocabulary=300",
    "data.synthetic.sft=40",
    "data.synthetic.curated=16",
    "data.synthetic.validation=8",
    "data.synthetic.test=8",
    "sft.epochs=0.5",
    "preference.train.steps=2",
    "predict.max_new_tokens=16",
    "evaluate.resamples=100",
]
"""Overrides with which the quick start runs in seconds, and learns nothing."""


def tiny_run(folder):
    """Runs the quick start in small in `folder`; returns the run's directory."""
    root = os.path.join(os.path.dirname(__file__), "..", "..")
    example = os.path.join(root, "examples", "quickstart.toml")
    sets = [part for value in [f"run.directory={folder}/run", *TINY] for part in ("--set", value)]
    tabpo("run", example, "--quiet", *sets)
    return os.path.join(folder, "run")
