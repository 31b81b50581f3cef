"""Checks tabpo on a machine with an NVIDIA card, in about eight minutes and without a network.

Needs the binary and python3; for steps 6 and 7 also torch, transformers and peft, and for TRL's own trainer trl and datasets,
which `--wheels FOLDER` installs into a temporary folder from wheels that were carried along. Models have random weights. Every step has a time limit, and the script goes on after a failure. Last come a line a check (PASS, FAIL or SKIP
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
    6: "the same training in TRL and in plain PyTorch",
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
    def __init__(self, arguments, folder):
        self.arguments, self.report = arguments, Report()
        self.packages = pathlib.Path(folder) / "packages"
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
        speed, error = call_json([self.tabpo, "gpu", "speed", "--json"], 60)
        if error:
            self.report.add(1, "ceilings", "FAIL", error)
        else:
            self.report.raw["speed"] = speed
            self.report.note(1, "copies, GB/s read and written", speed["copy_gigabytes_per_second"])
            for element, found in speed["product_gflops"].items():
                self.report.note(1, f"products of 8192 in {element}, TFLOP/s", found / 1e3)
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
            command += ["--negatives", str(negatives), "--batch-size", "16", "--max-tokens", "8192", "--by-kernel"]
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
            if found.get("planned_bytes"):
                used = found["card_bytes"] / found["planned_bytes"]
                self.report.at_most(4, f"K = {negatives}, used memory beside the plan", used, 1.02)
            total = sum(kernel["seconds"] for kernel in found.get("kernels", [])) or 1.0
            for kernel in found.get("kernels", [])[:8]:
                share = f"{100 * kernel['seconds'] / total:.1f} % in {kernel['calls']} calls"
                self.report.note(4, f"K = {negatives}, time of {kernel['kernel']}", share)
            self.report.note(4, "products of 8192, TFLOP/s", found["peak_gflops"] / 1e3)
            share = f"K = {negatives}, share of the products' speed"
            if self.arguments.shape == "8b":
                self.report.at_least(4, share, found["share_of_peak"], 0.55)
            else:
                self.report.note(4, share, found["share_of_peak"])

    def install(self):
        """Installs the wheels that were carried along, without a network; an error in words if that fails."""
        if not self.arguments.wheels or self.packages.exists():
            return None
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
        wheels = [str(wheel) for wheel in sorted(pathlib.Path(self.arguments.wheels).glob("*.whl"))]
        _, error = call([*command, str(self.packages), *wheels], 120)
        # What is installed already goes first: the card's torch is not one of the wheels.
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (before, str(self.packages)) if part)
        return error

    def peers(self):
        """The configurations of the peers: their names and commands, without the number of negatives."""
        model, pairs = str(self.data / "model"), str(self.data / "trl.jsonl")
        trl = [sys.executable, str(HERE.parent / "peers" / "trl_dpo.py"), "--cuda", "--model", model, "--pairs", pairs]
        plain = [sys.executable, str(HERE / "peer.py"), "train", "--data", str(self.data)]
        for liger in ([], ["--liger"]):
            for checkpointing in ([], ["--checkpointing"]):
                words = ["TRL", "Liger" if liger else "SDPA", *(["checkpointing"] if checkpointing else [])]
                yield ", ".join(words), [*trl, "--batch-size", "8", *liger, *checkpointing]
        for checkpointing in ([], ["--checkpointing"]):
            yield "plain PyTorch" + (", checkpointing" if checkpointing else ""), [*plain, *checkpointing]

    def peer(self, name, command, negatives):
        """What a peer measured, reported; None if it did not run."""
        found, error = call_json([*command, "--negatives", str(negatives)], 60)
        name = f"{name}, K = {negatives}"
        if error:
            self.report.add(6, name, "SKIP", error)
            return None
        self.report.raw[name] = found
        self.report.note(6, f"{name}, pairs/s", found["pairs_per_second"])
        self.report.note(6, f"{name}, card bytes", found["card_bytes"])
        return found

    def step_6(self):
        if error := self.prepared() or self.exported():
            self.report.add(6, "prepare", "FAIL", error)
            return
        if error := self.install():
            self.report.add(6, "wheels", "SKIP", error)
        # Every configuration with one negative; with four, which take four times as long, the best of TRL's and of the rest.
        ran = [(name, command, found) for name, command in self.peers() if (found := self.peer(name, command, 1))]
        speed = lambda entry: entry[2]["pairs_per_second"]
        kinds = [[entry for entry in ran if entry[0].startswith("TRL") == of_trl] for of_trl in (True, False)]
        best = [max(kind, key=speed) for kind in kinds if kind]
        again = [(name, command, found) for name, command, _ in best if (found := self.peer(name, command, 4))]
        for negatives, wanted, measured in ((1, 2.0, best), (4, 4.0, again)):
            own, error = self.train(negatives)
            if error or not measured:
                reason = error or "nothing to compare with"
                self.report.add(6, f"K = {negatives}, speed beside the best peer", "SKIP", reason)
                continue
            name, _, found = max(measured, key=speed)
            ratio = own["pairs_per_second"] / found["pairs_per_second"]
            self.report.at_least(6, f"K = {negatives}, speed beside the best peer ({name})", ratio, wanted)
            # tabpo fills the card where it may; what it needs is its plan.
            memory = own["estimated_bytes"] / found["card_bytes"]
            self.report.at_most(6, f"K = {negatives}, least memory beside it", memory, 0.5)

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
    parser.add_argument("--wheels", help="folder of wheels for step 6: trl, datasets and what they need, liger-kernel")
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
        acceptance = Acceptance(arguments, folder)
        acceptance.run()
    checks = acceptance.report.checks
    counts = {verdict: sum(check["verdict"] == verdict for check in checks) for verdict in ("PASS", "FAIL", "SKIP")}
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "shape": arguments.shape, **counts, "checks": checks}
    pathlib.Path(arguments.out).write_text(json.dumps({**result, "results": acceptance.report.raw}, indent=1) + "\n")
    print(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped; written to {arguments.out}")
    sys.exit(1 if counts["FAIL"] else 0)


if __name__ == "__main__":
    main()
