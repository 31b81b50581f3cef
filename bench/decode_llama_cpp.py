"""Decoding speed of `tabpo bench decode` and of llama.cpp, side by side, on the same GGUF file.

    python bench/decode_llama_cpp.py --tabpo target/release/tabpo --model FILE.gguf [--threads 2] [--batch 32]
        [--shared-tokens 900] [--prompt-tokens 40] [--new-tokens 48] [--repeats 3]

Both complete --batch prompts greedily, without a stop token. The prompts begin with --shared-tokens common tokens,
which both compute once, and go on with --prompt-tokens of their own. The runs alternate; printed as JSON are the medians
of new tokens per second from the first new token of the batch on, and of the ratios of neighbouring runs, and the same
with the time for the prompts. llama.cpp runs through llama-cpp-python's bindings, with its cache in 32 bits
(--cache f16 for its default).
"""

import argparse
import json
import statistics
import subprocess
import time

import llama_cpp
import numpy


def context(model, arguments):
    parameters = llama_cpp.llama_context_default_params()
    own = arguments.prompt_tokens + arguments.new_tokens
    parameters.n_ctx = arguments.shared_tokens + arguments.batch * own + 64
    parameters.n_batch = 2048
    parameters.n_seq_max = arguments.batch
    parameters.n_threads = parameters.n_threads_batch = arguments.threads
    parameters.kv_unified = True
    if arguments.cache == "f32":
        parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
    return llama_cpp.llama_init_from_model(model, parameters)


class Batch:
    """A reusable llama_batch."""

    def __init__(self, sequences):
        self.batch = llama_cpp.llama_batch_init(2048, 0, sequences)

    def decode(self, target, rows):
        """`rows` are tuples of token, position, sequences, and whether logits are wanted."""
        for start in range(0, len(rows), 2048):
            part = rows[start : start + 2048]
            self.batch.n_tokens = len(part)
            for index, (token, position, sequences, logits) in enumerate(part):
                self.batch.token[index] = token
                self.batch.pos[index] = position
                self.batch.n_seq_id[index] = len(sequences)
                for number, sequence in enumerate(sequences):
                    self.batch.seq_id[index][number] = sequence
                self.batch.logits[index] = logits
            assert llama_cpp.llama_decode(target, self.batch) == 0


def llama(model, arguments):
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    target = context(model, arguments)
    batch = Batch(arguments.batch)
    everyone = list(range(arguments.batch))

    def best(index):
        logits = llama_cpp.llama_get_logits_ith(target, index)
        return int(numpy.argmax(numpy.ctypeslib.as_array(logits, (vocabulary,))))

    start = time.perf_counter()
    shared = [(token(0, i, vocabulary), i, everyone, 0) for i in range(arguments.shared_tokens)]
    batch.decode(target, shared)
    own, last = [], []
    for sequence in everyone:
        for i in range(arguments.prompt_tokens):
            end = i + 1 == arguments.prompt_tokens
            if end:
                last.append(len(own))
            own.append((token(sequence + 1, i, vocabulary), arguments.shared_tokens + i, [sequence], end))
    assert len(own) <= 2048, "the prompts' own tokens are one batch"
    batch.decode(target, own)
    tokens = [best(index) for index in last]
    first = time.perf_counter()
    position = arguments.shared_tokens + arguments.prompt_tokens
    for step in range(arguments.new_tokens - 1):
        batch.decode(target, [(tokens[s], position + step, [s], 1) for s in everyone])
        tokens = [best(s) for s in everyone]
    end = time.perf_counter()
    llama_cpp.llama_free(target)
    return {
        "decode": arguments.batch * (arguments.new_tokens - 1) / (end - first),
        "whole": arguments.batch * arguments.new_tokens / (end - start),
    }


def token(prompt, position, vocabulary):
    return (prompt * 7919 + position * 104_729) % vocabulary


def tabpo(arguments):
    command = [arguments.tabpo, "--threads", str(arguments.threads), "bench", "decode", "--json", "--sentences", "0"]
    command += ["--model", arguments.model, "--batch", str(arguments.batch), "--prompts", str(arguments.batch)]
    command += ["--shared-tokens", str(arguments.shared_tokens), "--prompt-tokens", str(arguments.prompt_tokens)]
    command += ["--new-tokens", str(arguments.new_tokens), "--repeats", "1"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {"decode": result["decode_tokens_per_second"], "whole": result["tokens_per_second"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tabpo", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--shared-tokens", type=int, default=900)
    parser.add_argument("--prompt-tokens", type=int, default=40)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", choices=["f32", "f16"], default="f32")
    arguments = parser.parse_args()
    llama_cpp.llama_backend_init()
    log = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(log, None)
    model = llama_cpp.llama_model_load_from_file(
        arguments.model.encode(), llama_cpp.llama_model_default_params()
    )
    ours, theirs = [], []
    for _ in range(arguments.repeats):
        ours.append(tabpo(arguments))
        theirs.append(llama(model, arguments))
    result = {}
    for key in ("decode", "whole"):
        result[key] = {
            "tabpo_tokens_per_second": round(statistics.median(run[key] for run in ours), 1),
            "llama_cpp_tokens_per_second": round(statistics.median(run[key] for run in theirs), 1),
            "ratio": round(statistics.median(a[key] / b[key] for a, b in zip(ours, theirs)), 2),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
