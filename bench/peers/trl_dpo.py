"""DPO with TRL's DPOTrainer on the same folder and pairs, at its best settings for a CPU; with `--cuda`, on a card.

Reference log-probs precomputed (inside the clock, once), no gradient checkpointing, dropout off, one epoch,
LoRA on all projections. `--padding-free` tries TRL's padding-free batches, `--liger` its Liger kernels (with
liger-kernel installed), `--checkpointing` gradient checkpointing. Attention is PyTorch's SDPA.
"""

import argparse
import json
import os
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from data import load, peak_memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="bf16")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--padding-free", action="store_true")
    parser.add_argument("--liger", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pairs = load(arguments.model, arguments.pairs, arguments.examples, arguments.negatives)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    eos = tokenizer.eos_token
    rows = [
        {"prompt": p.prompt, "chosen": p.chosen.removesuffix(eos), "rejected": p.rejected.removesuffix(eos)}
        for p in pairs
    ]
    bf16 = arguments.dtype == "bf16"
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=torch.bfloat16 if bf16 else torch.float32, attn_implementation="sdpa"
    )
    if arguments.cuda:
        # What a card does once is not in the clock.
        model = model.cuda()
        with torch.no_grad():
            model(input_ids=torch.ones(arguments.batch_size, 64, dtype=torch.long, device="cuda"))
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    lora = LoraConfig(
        r=arguments.rank, lora_alpha=2 * arguments.rank, lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder, use_cpu=not arguments.cuda, bf16=bf16, per_device_train_batch_size=arguments.batch_size,
            gradient_accumulation_steps=1, num_train_epochs=1, learning_rate=1e-4,
            gradient_checkpointing=arguments.checkpointing,
            precompute_ref_log_probs=True, padding_free=arguments.padding_free,
            use_liger_kernel=arguments.liger, max_length=None,
            save_strategy="no", logging_steps=1000, report_to="none", disable_tqdm=True, seed=1,
        )
        started, started_cpu = time.perf_counter(), time.process_time()
        trainer = DPOTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            peft_config=lora,
        )
        trainer.train()
        seconds = time.perf_counter() - started
    tokens = sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in pairs)
    print(json.dumps({
        "system": f"TRL {arguments.dtype}" + "".join(
            f", {name}" for name in ("padding_free", "liger", "checkpointing") if getattr(arguments, name)
        ),
        "trl": trl.__version__,
        "pairs": len(pairs),
        "negatives": arguments.negatives,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - started_cpu,
        "pairs_per_second": len(pairs) / seconds,
        "tokens_separate": tokens,
        "peak_rss_bytes": peak_memory(),
        **({"card_bytes": torch.cuda.max_memory_reserved()} if arguments.cuda else {}),
        "threads": arguments.threads,
    }))


if __name__ == "__main__":
    main()
