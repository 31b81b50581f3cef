"""Preference training and generation in PyTorch on the card, as a measure for tabpo's: plain DPO steps with LoRA r=16 on all
projections in bf16 with SDPA, the reference's log-probs computed once inside the clock as tabpo does; and transformers'
`generate`. Prints a line of JSON.
"""

import argparse
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

import torch
from transformers import AutoModelForCausalLM

from data import load

BETA = 0.1


def open_model(data):
    return AutoModelForCausalLM.from_pretrained(
        f"{data}/model", dtype=torch.bfloat16, attn_implementation="sdpa"
    ).cuda()


def answer_log_probs(model, pairs):
    """The log-probability of every pair's chosen answer, then of every rejected one; padded on the right."""
    sides = [(pair.prompt_ids, answer) for side in ("chosen_ids", "rejected_ids") for pair in pairs
             for answer in [getattr(pair, side)]]
    length = max(len(prompt) + len(answer) for prompt, answer in sides)
    ids = torch.zeros(len(sides), length, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(sides):
        whole = prompt + answer
        ids[row, : len(whole)] = torch.tensor(whole)
        mask[row, : len(whole)] = 1
        labels[row, len(prompt) : len(whole)] = torch.tensor(answer)
    ids, mask, labels = ids.cuda(), mask.cuda(), labels.cuda()
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none"
    )
    return -losses.sum(-1)


def train(arguments):
    from peft import LoraConfig, get_peft_model

    pairs = load(f"{arguments.data}/model", f"{arguments.data}/trl.jsonl", None, arguments.negatives)
    model = open_model(arguments.data)
    if arguments.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    batches = [pairs[at : at + arguments.batch_size] for at in range(0, len(pairs), arguments.batch_size)]

    def epoch(some):
        with torch.no_grad(), model.disable_adapter():
            reference = [answer_log_probs(model, batch) for batch in some]
        for batch, fixed in zip(some, reference):
            moved = answer_log_probs(model, batch) - fixed
            margin = moved[: len(batch)] - moved[len(batch) :]
            loss = -torch.nn.functional.logsigmoid(BETA * margin).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
        torch.cuda.synchronize()

    model.train()
    epoch(batches[:2])
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    epoch(batches)
    seconds = time.perf_counter() - started
    return {
        "system": "PyTorch, SDPA" + (", checkpointing" if arguments.checkpointing else ""),
        "torch": torch.__version__,
        "pairs": len(pairs),
        "seconds": seconds,
        "pairs_per_second": len(pairs) / seconds,
        "card_bytes": torch.cuda.max_memory_reserved(),
    }


def generate(arguments):
    model = open_model(arguments.data).eval()
    vocabulary, length = model.config.vocab_size, arguments.shared_tokens + arguments.prompt_tokens
    tokens = torch.randint(0, vocabulary, (arguments.prompts, length), generator=torch.Generator().manual_seed(1))
    tokens[:, : arguments.shared_tokens] = tokens[0, : arguments.shared_tokens]

    def run(new):
        for at in range(0, arguments.prompts, arguments.batch):
            ids = tokens[at : at + arguments.batch].cuda()
            model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
                do_sample=False, pad_token_id=0,
            )
        torch.cuda.synchronize()

    run(4)
    started = time.perf_counter()
    run(arguments.new_tokens)
    seconds = time.perf_counter() - started
    return {"system": "transformers", "tokens_per_second": arguments.prompts * arguments.new_tokens / seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "generate"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--checkpointing", action="store_true")
    for name in ("batch", "prompts", "shared-tokens", "prompt-tokens", "new-tokens"):
        parser.add_argument(f"--{name}", type=int, default=64)
    arguments = parser.parse_args()
    print(json.dumps(train(arguments) if arguments.what == "train" else generate(arguments)))


if __name__ == "__main__":
    main()
