"""Checks tabpo on a machine with an NVIDIA card, in about eight minutes and without a network.

Needs the binary and python3; for steps 6 and 7 also torch, transformers and peft (TRL if it is there). Models have random
weights. Every step has a time limit, and the script goes on after a failure. Last come a line a check (PASS, FAIL or SKIP
with the reason) and a JSON file with everything. On a machine without a card every step says so.

  bench/gpu/accept.sh --tabpo target/release/tabpo             all steps with a model of 1.5 billion parameters
  bench/gpu/accept.sh --quick                                  steps 1 to 3
  bench/gpu/accept.sh --only 4 --shape 8b --data FOLDER        one step; the folder keeps what `bench prepare` writes
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
STEPS = {
    1: "card, driver and libraries",
    2: "kernels compile; every operation against the host",
    3: "small models of all families and a block of 8B widths against the host",
    4: "preference training, one and four negatives",
    5: "70B in four bits",
    6: "the same training in PyTorch",
    7: "decoding beside transformers",
}


class Report:
    def __init__(self):
        self.checks, self.raw = [], {}

    def add(self, step, name, verdict, value=None, limit=None):
        self.checks.append({"step": step, "name": name, "verdict": verdict, "value": value, "limit": limit})
        shown = "" if value is None else f": {value:.4g}" if isinstance(value, float) else f": {value}"
        print(f"{verdict}  {step}  {name}{shown}" + ("" if limit is None else f" (limit {limit})"), flush=True)

    def at_least(self, step, name, value, limit):
        self.add(step, name, "PASS" if value >= limit else "FAIL", float(value), f"at least {limit}")

    def at_most(self, step, name, value, limit):
        self.add(step, name, "PASS" if value <= limit else "FAIL", float(value), f"at most {limit}")

    def note(self, step, name, value):
        self.add(step, name, "NOTE", value)


def call(command, seconds, accepted=(0,)):
    """The output of a command, or an error in words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError:
        return None, f"{command[0]} was not found"
    except subprocess.TimeoutExpired:
        return None, f"not finished after {seconds} s"
    if done.returncode not in accepted:
        lines = [line for line in done.stderr.strip().splitlines() if line]
        return None, "; ".join(lines[-3:]) or f"exit status {done.returncode}"
    return done.stdout, None


def call_json(command, seconds, accepted=(0,)):
    text, error = call(command, seconds, accepted)
    if error:
        return None, error
    try:
        # Peers may print before their result.
        start = text.index("{") if command[0] != sys.executable else text.rindex("\n{") + 1 if "\n{" in text else 0
        return json.loads(text[start:]), None
    except ValueError:
        return None, "no JSON came out"


class Acceptance:
    def __init__(self, arguments):
        self.arguments, self.report = arguments, Report()
        self.tabpo = arguments.tabpo
        self.data = pathlib.Path(arguments.data) if arguments.data else None
        self.trained = {}
        self.decoded = None
        self.no_card = None

    def run(self):
        steps = [self.arguments.only] if self.arguments.only else [1, 2, 3] if self.arguments.quick else sorted(STEPS)
        self.no_card = self.find_card()
        if self.no_card is None and "info" not in self.report.raw:
            return
        for step in steps:
            print(f"-- {step}: {STEPS[step]}", flush=True)
            started = time.monotonic()
            if self.no_card:
                self.report.add(step, STEPS[step], "SKIP", self.no_card)
            elif step == 5:
                self.report.add(step, STEPS[step], "SKIP", "there are no weights in four bits yet")
            else:
                getattr(self, f"step_{step}")()
            print(f"   {time.monotonic() - started:.0f} s", flush=True)

    def find_card(self):
        found, error = call_json([self.tabpo, "gpu", "info", "--json"], 60)
        if error:
            self.report.add(1, "`tabpo gpu info`", "FAIL", error)
            return None
        self.report.raw["info"] = found
        if not found.get("cards"):
            return "no card"
        return None

    def step_1(self):
        info = self.report.raw["info"]
        for card in info["cards"]:
            self.report.note(1, f"card {card['index']}", f"{card['name']}, {card['compute_capability']}")
        for part in ("driver", "compiler", "products"):
            found = info.get(part, {})
            self.report.add(1, part, "FAIL" if "error" in found else "PASS", found.get("error") or json.dumps(found))
        text, error = call(["nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit", "--format=csv"], 20)
        self.report.note(1, "nvidia-smi", error or text.strip().splitlines()[-1])

    def step_2(self):
        started = time.monotonic()
        _, error = call([self.tabpo, "gpu", "compile"], 120)
        if error:
            self.report.add(2, "kernels compile", "FAIL", error)
        else:
            self.report.note(2, "kernels compile, seconds", time.monotonic() - started)
        self.checks(2, ["--operations"], 90)

    def step_3(self):
        self.checks(3, [], 150)

    def checks(self, step, more, seconds):
        # Exit status 1 says that checks failed; they are in the output.
        found, error = call_json([self.tabpo, "gpu", "check", "--seed", "1", "--json", *more], seconds, (0, 1))
        if error:
            self.report.add(step, STEPS[step], "FAIL", error)
            return
        for check in found["checks"]:
            if (step == 3) == check["name"].startswith("models:"):
                verdict = "PASS" if check["passed"] else "FAIL"
                self.report.add(step, check["name"], verdict, check["error"], f"at most {check['limit']}")

    def prepared(self):
        """The folder with the model and the pairs; what writes it is not timed."""
        if not (self.data / "pairs.jsonl").exists():
            command = [self.tabpo, "bench", "prepare", "--out", str(self.data), "--shape", self.arguments.shape]
            _, error = call(command, 600)
            if error:
                return error
        return None

    def exported(self):
        """The pairs as the peers read them."""
        pairs, target = self.data / "pairs.jsonl", self.data / "trl.jsonl"
        _, error = call([self.tabpo, "pairs", "export", str(pairs), "--format", "trl-chat", "--out", str(target)], 60)
        return error

    def train(self, negatives):
        if negatives not in self.trained:
            command = [self.tabpo, "bench", "preference", "--device", "cuda", "--json", "--objective", "dpo"]
            command += ["--model", str(self.data / "model"), "--pairs", str(self.data / "pairs.jsonl")]
            command += ["--negatives", str(negatives), "--batch-size", "16", "--max-tokens", "8192"]
            self.trained[negatives] = call_json(command, 120)
        return self.trained[negatives]

    def step_4(self):
        if error := self.prepared():
            self.report.add(4, "prepare", "FAIL", error)
            return
        for negatives in (1, 4):
            found, error = self.train(negatives)
            if error:
                self.report.add(4, f"K = {negatives}", "FAIL", error)
                continue
            self.report.raw[f"tabpo K={negatives}"] = found
            self.report.note(4, f"K = {negatives}, pairs/s", found["pairs_per_second"])
            self.report.note(4, f"K = {negatives}, card bytes", found["card_bytes"])
            self.report.note(4, "products of 8192, TFLOP/s", found["peak_gflops"] / 1e3)
            share = f"K = {negatives}, share of the products' speed"
            if self.arguments.shape == "8b":
                self.report.at_least(4, share, found["share_of_peak"], 0.55)
            else:
                self.report.note(4, share, found["share_of_peak"])

    def step_6(self):
        if error := self.prepared() or self.exported():
            self.report.add(6, "prepare", "FAIL", error)
            return
        for negatives, wanted in ((1, 2.0), (4, 4.0)):
            best = None
            for more in ([], ["--checkpointing"]):
                command = [sys.executable, str(HERE / "peer.py"), "train", "--data", str(self.data)]
                found, error = call_json([*command, "--negatives", str(negatives), *more], 75)
                name = f"PyTorch, K = {negatives}" + (", checkpointing" if more else "")
                if error:
                    self.report.add(6, name, "SKIP", error)
                    continue
                self.report.raw[name] = found
                self.report.note(6, f"{name}, pairs/s", found["pairs_per_second"])
                self.report.note(6, f"{name}, card bytes", found["card_bytes"])
                if best is None or found["pairs_per_second"] > best["pairs_per_second"]:
                    best = found
            own, error = self.train(negatives)
            if best is None or error:
                self.report.add(6, f"K = {negatives}, speed beside PyTorch", "SKIP", error or "nothing to compare with")
                continue
            ratio = own["pairs_per_second"] / best["pairs_per_second"]
            self.report.at_least(6, f"K = {negatives}, speed beside PyTorch", ratio, wanted)
            # tabpo fills the card where it may; what it needs is its plan.
            memory = own["estimated_bytes"] / best["card_bytes"]
            self.report.at_most(6, f"K = {negatives}, least memory beside PyTorch", memory, 0.5)

    def step_7(self):
        if error := self.prepared():
            self.report.add(7, "prepare", "FAIL", error)
            return
        sizes = {"batch": 128, "prompts": 128, "shared-tokens": 256, "prompt-tokens": 64, "new-tokens": 128}
        flags = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
        command = [self.tabpo, "bench", "decode", "--device", "cuda", "--json", "--repeats", "2", "--sentences", "0"]
        own, error = call_json([*command, "--model", str(self.data / "model"), *flags], 90)
        if error:
            self.report.add(7, "decoding", "FAIL", error)
            return
        self.report.raw["decode"] = own
        self.report.note(7, "new tokens/s", own["tokens_per_second"])
        peer, error = call_json([sys.executable, str(HERE / "peer.py"), "generate", "--data", str(self.data), *flags], 90)
        if error:
            self.report.add(7, "speed beside transformers", "SKIP", error)
            return
        self.report.raw["generate"] = peer
        self.report.note(7, "transformers, new tokens/s", peer["tokens_per_second"])
        ratio = own["tokens_per_second"] / peer["tokens_per_second"]
        self.report.at_least(7, "speed beside transformers", ratio, 5.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tabpo", default="target/release/tabpo", help="the binary")
    parser.add_argument("--shape", choices=("m1", "1.5b", "8b"), default="1.5b", help="the model of steps 4, 6 and 7")
    parser.add_argument("--data", help="folder for model and pairs; a temporary one if not given")
    parser.add_argument("--only", type=int, choices=sorted(STEPS), help="one step")
    parser.add_argument("--quick", action="store_true", help="steps 1 to 3")
    parser.add_argument("--out", default="accept.json", help="the file with all results")
    arguments = parser.parse_args()
    if shutil.which(arguments.tabpo) is None:
        parser.error(f"{arguments.tabpo} is not a program: build it, or name it with --tabpo")
    arguments.tabpo = shutil.which(arguments.tabpo)
    with tempfile.TemporaryDirectory() as folder:
        arguments.data = arguments.data or os.path.join(folder, "data")
        acceptance = Acceptance(arguments)
        acceptance.run()
    checks = acceptance.report.checks
    counts = {verdict: sum(check["verdict"] == verdict for check in checks) for verdict in ("PASS", "FAIL", "SKIP")}
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "shape": arguments.shape, **counts, "checks": checks}
    pathlib.Path(arguments.out).write_text(json.dumps({**result, "results": acceptance.report.raw}, indent=1) + "\n")
    print(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped; written to {arguments.out}")
    sys.exit(1 if counts["FAIL"] else 0)


if __name__ == "__main__":
    main()
