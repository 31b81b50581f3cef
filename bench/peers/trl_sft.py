"""SFT with TRL's SFTTrainer on the same folder and the chosen answers, at its best settings for a CPU.

LoRA on all projections, loss on the answers only, no gradient checkpointing, dropout off, one epoch.
"""

import argparse
import json
import os
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from data import load, peak_memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--negatives", type=int, default=1, help="ignored: an example is trained on once")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    examples = load(arguments.model, arguments.pairs, arguments.examples, 1)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    rows = [
        {"prompt": example.prompt, "completion": example.chosen.removesuffix(tokenizer.eos_token)}
        for example in examples
    ]
    bf16 = arguments.dtype == "bf16"
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.bfloat16 if bf16 else torch.float32)
    lora = LoraConfig(
        r=arguments.rank, lora_alpha=2 * arguments.rank, lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, use_cpu=True, bf16=bf16, per_device_train_batch_size=arguments.batch_size,
            gradient_accumulation_steps=1, num_train_epochs=1, learning_rate=1e-4, gradient_checkpointing=False,
            completion_only_loss=True, max_length=None,
            save_strategy="no", logging_steps=1000, report_to="none", disable_tqdm=True, seed=1,
        )
        started, started_cpu = time.perf_counter(), time.process_time()
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            peft_config=lora,
        )
        trainer.train()
        seconds = time.perf_counter() - started
    print(json.dumps({
        "system": f"TRL SFT {arguments.dtype}",
        "pairs": len(examples),
        "seconds": seconds,
        "cpu_seconds": time.process_time() - started_cpu,
        "pairs_per_second": len(examples) / seconds,
        "tokens_separate": sum(len(example.prompt_ids) + len(example.chosen_ids) for example in examples),
        "peak_rss_bytes": peak_memory(),
        "threads": arguments.threads,
    }))


if __name__ == "__main__":
    main()
