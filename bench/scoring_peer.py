"""Time of `tabpo eval` beside another evaluator on the same files.

    python bench/scoring_peer.py --tabpo BIN --ontology FILE --gold FILE --pred FILE[.gz] --evaluator SCRIPT
        [--copies 400] [--rounds 3] [--threads N] [--resamples 0]

Gold (DyGIE) and predictions are repeated, each copy under document keys of its own, into a temporary
folder. The evaluator is called as `python SCRIPT GOLD PRED` and is expected to bootstrap nothing, so
tabpo is told the same unless --resamples says otherwise. Both run in turn in every round, with their
files in memory; printed as JSON are the medians of wall time and processor time (start of the process
included), the medians of the ratios, and the largest resident size of each.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def lines(path):
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as file:
        return [line for line in file if line.strip()]


def repeat(source, target, copies):
    """Writes a file several times over; the key of a document gets the number of the copy."""
    rows = [json.loads(line) for line in lines(source)]
    with target.open("w", encoding="utf-8") as file:
        for copy in range(copies):
            for row in rows:
                file.write(json.dumps(row | {"doc_key": f"{row['doc_key']}#{copy}"}, ensure_ascii=False) + "\n")
    return len({row["doc_key"] for row in rows}) * copies


def run(command, files):
    """Wall seconds, processor seconds and the largest resident size in MB of a command."""
    # It finds its files in memory, whatever the one before it needed.
    for file in files:
        with file.open("rb") as opened:
            while opened.read(1 << 24):
                pass
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} ended with status {status}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--tabpo", "--ontology", "--gold", "--pred", "--evaluator"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--copies", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--resamples", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.copies < 1 or arguments.rounds < 1:
        parser.error("--copies and --rounds are at least 1")
    with tempfile.TemporaryDirectory() as folder:
        gold, pred = Path(folder) / "gold.jsonl", Path(folder) / "pred.jsonl"
        documents = repeat(arguments.gold, gold, arguments.copies)
        repeat(arguments.pred, pred, arguments.copies)
        # Nobody's time is to hold the writing of files.
        os.sync()
        ours = [arguments.tabpo, "eval", "--json", "--quiet", "--ontology", arguments.ontology]
        ours += ["--gold", gold, "--pred", pred, "--resamples", arguments.resamples, "--threads", arguments.threads]
        theirs = [sys.executable, arguments.evaluator, gold, pred]
        commands = [[*map(str, command)] for command in (ours, theirs)]
        rounds = [[run(command, (gold, pred)) for command in commands] for _ in range(arguments.rounds)]
    median = statistics.median
    result = {
        "documents": documents,
        "threads": arguments.threads,
        "tabpo": {"wall_s": median(a[0] for a, _ in rounds), "cpu_s": median(a[1] for a, _ in rounds)},
        "evaluator": {"wall_s": median(b[0] for _, b in rounds), "cpu_s": median(b[1] for _, b in rounds)},
        "wall_ratio": median(b[0] / a[0] for a, b in rounds),
        "cpu_ratio": median(b[1] / a[1] for a, b in rounds),
    }
    result["tabpo"]["rss_mb"] = max(a[2] for a, _ in rounds)
    result["evaluator"]["rss_mb"] = max(b[2] for _, b in rounds)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
