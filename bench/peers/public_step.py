"""The training step of the public TAB-PO script (SarielMa/TAB-PO at af5f1ed), stated again for timing.

For every pair: chosen and rejected padded to a common length, two policy passes with gradient
checkpointing, two reference passes with the adapter switched off (in every epoch, nothing is kept), full
logits of every position, weighted means, and the confidence-gated barrier. One pair at a time, two pairs a
step, no clipping, AdamW. Written from the description of that step; no line is copied.
"""

import argparse
import json
import math
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from data import load, peak_memory

BETA, LAMBDA, THRESHOLD = 0.5, 0.5, 0.66
IGNORED = -100


def padded(prompt, answer, length):
    """Ids, attention mask and labels of one sequence, padded on the right."""
    ids = prompt + answer
    gap = length - len(ids)
    labels = [IGNORED] * len(prompt) + answer + [IGNORED] * gap
    return tuple(torch.tensor([row]) for row in (ids + [0] * gap, [1] * len(ids) + [0] * gap, labels))


def token_log_probs(model, ids, mask, labels):
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    labels = labels[:, 1:]
    losses = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return -losses, labels != IGNORED


def weights(answer, other, supervised):
    """1, and 1.2 where the answers have different tokens at the same position."""
    flat = torch.ones(len(answer))
    for position in range(min(len(answer), len(other))):
        if answer[position] != other[position]:
            flat[position] = 1.2
    result = torch.zeros(supervised.shape)
    result[supervised] = flat
    return result


def step_loss(model, pair):
    length = len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids))
    sides = []
    for answer, other in ((pair.chosen_ids, pair.rejected_ids), (pair.rejected_ids, pair.chosen_ids)):
        batch = padded(pair.prompt_ids, answer, length)
        policy, supervised = token_log_probs(model, *batch)
        with torch.no_grad(), model.disable_adapter():
            model.eval()
            reference, _ = token_log_probs(model, *batch)
            model.train()
        sides.append((policy, reference, weights(answer, other, supervised), supervised))
    mean = lambda values, weight: (values * weight).sum() / weight.sum()
    (chosen, chosen_reference, chosen_weight, supervised), (rejected, rejected_reference, rejected_weight, _) = sides
    margin = mean(chosen, chosen_weight) - mean(rejected, rejected_weight)
    margin = margin - (mean(chosen_reference, chosen_weight) - mean(rejected_reference, rejected_weight))
    preference = -torch.nn.functional.logsigmoid(BETA * margin)
    gate = ((chosen < math.log(THRESHOLD)) & supervised).float()
    scaled = chosen_weight * supervised.sum() / chosen_weight.sum()
    barrier = (gate * scaled * -chosen).sum() / (gate * scaled).sum().clamp(min=1.0)
    return preference + LAMBDA * barrier


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="bf16")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    pairs = load(arguments.model, arguments.pairs, arguments.examples, arguments.negatives)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.dtype]
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype)
    config = LoraConfig(
        r=arguments.rank, lora_alpha=2 * arguments.rank, lora_dropout=0.05, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    # One pair outside the clock: allocations, code paths.
    step_loss(model, pairs[0]).backward()
    optimiser.zero_grad()
    started, started_cpu = time.perf_counter(), time.process_time()
    for number, pair in enumerate(pairs):
        step_loss(model, pair).backward()
        if number % 2 == 1 or number + 1 == len(pairs):
            optimiser.step()
            optimiser.zero_grad()
    seconds = time.perf_counter() - started
    print(json.dumps({
        "system": f"public step {arguments.dtype}",
        "pairs": len(pairs),
        "negatives": arguments.negatives,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - started_cpu,
        "pairs_per_second": len(pairs) / seconds,
        "peak_rss_bytes": peak_memory(),
        "threads": arguments.threads,
    }))


if __name__ == "__main__":
    main()
