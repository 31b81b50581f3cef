"""Runs tabpo and its peers one after the other, several rounds, and prints medians and ratios.

    tabpo bench prepare --out DIR
    python bench/peers/run.py --data DIR --tabpo target/release/tabpo [--rounds 3] [--examples 16 --peer-examples 4]

DIR holds a model folder `model` and `pairs.jsonl`; for a model with a chat template, --ontology names the ontology of
the pairs, whose instructions are then part of every prompt. Every system runs in a process of its own. In every round
all of them run once, in an order that turns round by round, so that a drift of the machine meets all of them. A system
that fails is reported as failed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent


def systems(arguments, negatives):
    """Name and command line of every system."""
    common = ["--model", arguments.data / "model", "--negatives", negatives, "--threads", arguments.threads]
    own = [arguments.tabpo, "bench", "preference", *common, "--pairs", arguments.data / "pairs.jsonl", "--json", "--quiet"]
    own += ["--examples", arguments.examples, "--batch-size", arguments.batch_size, "--max-tokens", arguments.max_tokens]
    own += ["--lora-rank", arguments.rank]
    own += [] if arguments.ontology is None else ["--ontology", arguments.ontology]
    tabpo = lambda objective, compute: [*own, "--objective", objective, "--compute", compute]
    fewer = ["--pairs", arguments.data / "trl.jsonl", "--examples", arguments.peer_examples or arguments.examples]
    rank = ["--rank", arguments.rank]
    python = lambda script, *rest: [sys.executable, HERE / script, *common, *fewer, *rank, *rest]
    return {
        "tabpo tab-po bf16": tabpo("tab-po", "bf16"),
        "tabpo dpo bf16": tabpo("dpo", "bf16"),
        "tabpo tab-po f32": tabpo("tab-po", "f32"),
        "tabpo dpo f32": tabpo("dpo", "f32"),
        "tabpo SFT f32": tabpo("continued-sft", "f32"),
        "SFTTrainer f32": python("trl_sft.py", "--dtype", "f32"),
        "SFTTrainer bf16": python("trl_sft.py", "--dtype", "bf16"),
        "TRL bf16": python("trl_dpo.py", "--dtype", "bf16"),
        "TRL bf16 Liger": python("trl_dpo.py", "--dtype", "bf16", "--liger"),
        "TRL f32": python("trl_dpo.py", "--dtype", "f32"),
        "TRL bf16 padding-free": python("trl_dpo.py", "--dtype", "bf16", "--padding-free"),
        "TRL f32 padding-free": python("trl_dpo.py", "--dtype", "f32", "--padding-free"),
        "public TAB-PO step bf16": python("public_step.py", "--dtype", "bf16"),
        "public TAB-PO step f32": python("public_step.py", "--dtype", "f32"),
    }


def export(arguments):
    """Writes the pairs as the peers read them."""
    command = [arguments.tabpo, "pairs", "export", arguments.data / "pairs.jsonl", "--format", "trl-chat"]
    command += [] if arguments.ontology is None else ["--ontology", arguments.ontology]
    subprocess.run([*command, "--out", arguments.data / "trl.jsonl"], check=True)


def measure(command):
    """The JSON that a system prints, or None."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        print(f"failed: {' '.join(map(str, command))}\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    start = done.stdout.rindex("\n{") + 1 if "\n{" in done.stdout else done.stdout.index("{")
    return json.loads(done.stdout[start:])


def machine():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {len(names)} logical cores, load {os.getloadavg()[0]:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tabpo", type=Path, required=True)
    parser.add_argument("--ontology", type=Path, help="of the pairs, for a model with a chat template")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters")
    parser.add_argument("--batch-size", type=int, default=4, help="examples in a step of tabpo")
    parser.add_argument("--max-tokens", type=int, default=1024, help="in a micro-batch of tabpo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--peer-examples", type=int, help="for the peers, which take a minute for a few")
    parser.add_argument("--negatives", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", help="names of systems")
    parser.add_argument("--json", type=Path, help="where to write every measurement")
    arguments = parser.parse_args()

    export(arguments)
    print(machine())
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "trl")))
    everything = []
    for negatives in arguments.negatives:
        commands = systems(arguments, negatives)
        if arguments.only:
            commands = {name: command for name, command in commands.items() if name in arguments.only}
        names, results = list(commands), {name: [] for name in commands}
        for number in range(arguments.rounds):
            turned = names[number % len(names):] + names[:number % len(names)]
            for name in turned:
                load = os.getloadavg()[0]
                result = measure(commands[name])
                if result is not None:
                    results[name].append(result)
                    everything.append({"name": name, "round": number, "load_before": load, **result})
                    print(f"round {number + 1}, K = {negatives}, {name}: {result['pairs_per_second']:.3f} pairs/s, "
                          f"load before {load:.1f}", file=sys.stderr, flush=True)
        print(f"\nK = {negatives}, {arguments.examples} examples "
              f"({arguments.peer_examples or arguments.examples} for the peers), {arguments.threads} threads, "
              f"median of {arguments.rounds}\n")
        middle = {name: statistics.median(r["pairs_per_second"] for r in runs) for name, runs in results.items() if runs}
        best = lambda family: max((speed for name, speed in middle.items() if name.startswith(family)), default=None)
        peers = {"best TRL": best("TRL"), "best public step": best("public"), "best SFTTrainer": best("SFTTrainer")}
        # Fine-tuning is compared with fine-tuning, preference training with preference training.
        alike = lambda name, peer: ("SFT" in name) == ("SFT" in peer)
        print("| system | pairs/s (SFT: examples/s) | lowest to highest | " + " | ".join(f"against {peer}" for peer in peers)
              + " | peak memory |")
        print("|---|---|---|" + "---|" * len(peers) + "---|")
        for name, runs in results.items():
            if not runs:
                print(f"| {name} | failed | |" + " |" * len(peers) + " |")
                continue
            speeds = [run["pairs_per_second"] for run in runs]
            ratios = [
                f"{middle[name] / speed:.2f}x" if speed and alike(name, peer) else "" for peer, speed in peers.items()
            ]
            memory = max(run["peak_rss_bytes"] for run in runs) / 1e6
            print(f"| {name} | {middle[name]:.3f} | {min(speeds):.3f} to {max(speeds):.3f} | {' | '.join(ratios)} "
                  f"| {memory:.0f} MB |")
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
