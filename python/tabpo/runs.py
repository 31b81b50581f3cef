"""The folder of a run as data frames."""

import dataclasses
import json
from pathlib import Path

try:
    import pandas as pd
except ImportError as error:
    raise ImportError("tabpo.read_run needs pandas: pip install tabpo[pandas]") from error


@dataclasses.dataclass
class Run:
    """What a run left in its folder. A table is empty where the run did not get that far."""

    directory: Path
    """The run's folder."""

    metrics: pd.DataFrame
    """A row for each training step: `stage`, `step`, `loss` and its terms, `learning_rate` and so on. Figures by role
    have columns such as `roles.entity-label.net_gradient_share`."""

    scores: pd.DataFrame
    """A row for each system and metric on the test documents: `system`, `runs` (seeds), `metric`, `title`,
    `higher_is_better`, `value` with its 95 % interval `low` to `high`, `precision` and `recall` where the metric has
    them, `mean` and `sd` over seeds. Rates are from 0 to 1."""

    differences: pd.DataFrame
    """A row for each pair of systems that was compared, and metric: `a`, `b`, `metric`, `difference` (a minus b) with
    its interval `low` to `high`, and the p-values `p_bootstrap`, `p_randomisation` and `p_holm`."""

    predictions: pd.DataFrame
    """A row for each answer: `system`, `learning_rate` and `seed` (none for the fine-tuned model), `split` (the name of
    the file, such as `test` or `validation`), `doc_key`, `sent` (none where a whole document was shown) and `output`,
    what the model wrote."""


def read_run(directory):
    """Reads the folder of a run, also while the run goes on.

    Raises FileNotFoundError if the folder is not there, and ValueError if it is not that of a run.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} is not a folder")
    if not (directory / "run.toml").exists() and not (directory / "metrics.jsonl").exists():
        raise ValueError(f"{directory} is not the folder of a run: it has neither run.toml nor metrics.jsonl")
    scores, differences = _comparison(directory / "comparison.json")
    return Run(
        directory=directory,
        metrics=_metrics(directory / "metrics.jsonl"),
        scores=scores,
        differences=differences,
        predictions=_predictions(directory),
    )


def _lines(path):
    """The records of a file with one JSON object a line. Lines that a killed process tore are left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(record, dict):
                yield record


def _metrics(path):
    steps = [record for record in _lines(path) if record.get("kind") == "step"]
    return pd.json_normalize(steps).drop(columns="kind", errors="ignore")


def _comparison(path):
    if not path.exists():
        return pd.DataFrame(), pd.DataFrame()
    comparison = json.loads(path.read_text(encoding="utf-8"))["comparison"]
    metrics = {metric["key"]: metric for metric in comparison["metrics"]}
    scores = [
        {
            "system": system["name"],
            "runs": system["runs"],
            "metric": score["metric"],
            "title": metrics[score["metric"]]["title"],
            "higher_is_better": metrics[score["metric"]]["higher_is_better"],
            **{key: value for key, value in score.items() if key not in ("metric", "per_run")},
        }
        for system in comparison["systems"]
        for score in system["scores"]
    ]
    differences = [
        {"a": pair["a"], "b": pair["b"], **difference}
        for pair in comparison["differences"]
        for difference in pair["differences"]
    ]
    return pd.DataFrame(scores), pd.DataFrame(differences)


def _predictions(directory):
    rows = []
    for path, system, rate, seed in _answer_files(directory):
        for record in _lines(path):
            if "output" in record:
                rows.append(
                    {
                        "system": system,
                        "learning_rate": rate,
                        "seed": seed,
                        "split": path.stem,
                        "doc_key": record["doc_key"],
                        "sent": record.get("sent"),
                        "output": record["output"],
                    }
                )
    columns = ["system", "learning_rate", "seed", "split", "doc_key", "sent", "output"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"seed": "Int64", "sent": "Int64"})


def _answer_files(directory):
    """The files of answers with system, learning rate and seed."""
    errors = directory / "errors" / "validation.jsonl"
    if errors.exists():
        yield errors, "sft", None, None
    for path in sorted((directory / "sft").glob("*.jsonl")):
        yield path, "sft", None, None
    for path in sorted((directory / "systems").glob("*/lr-*/seed-*/*.jsonl")):
        system, rate, seed = path.relative_to(directory / "systems").parts[:3]
        yield path, system, float(rate.removeprefix("lr-")), int(seed.removeprefix("seed-"))
    for path in sorted((directory / "remote").glob("*/*.jsonl")):
        yield path, path.parent.name, None, None
