"""The pairs of `tabpo pairs export --format trl-chat` as token ids, the same ids that `tabpo bench preference` trains on."""

import json
from dataclasses import dataclass

from transformers import AutoTokenizer

# Between source and answer in the prompts of a model from scratch, which has no chat template.
SEPARATOR = "<|assistant|>"


@dataclass
class Pair:
    """A rendered prompt with a chosen and a rejected answer, both with the end token."""

    prompt: str
    chosen: str
    rejected: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


def load(model: str, path: str, examples: int | None, negatives: int) -> list[Pair]:
    """The first negatives of each of the first examples, in the order of the file."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    pairs, seen = [], {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            key = json.dumps([record["prompt"], record["chosen"]])
            if key not in seen and examples is not None and len(seen) == examples:
                break
            seen[key] = seen.get(key, 0) + 1
            if seen[key] > negatives:
                continue
            if tokenizer.chat_template is None:
                prompt = record["prompt"][-1]["content"] + SEPARATOR
            else:
                prompt = tokenizer.apply_chat_template(record["prompt"], tokenize=False, add_generation_prompt=True)
            chosen, rejected = (record[side][0]["content"] + tokenizer.eos_token for side in ("chosen", "rejected"))
            pairs.append(Pair(prompt, chosen, rejected, encode(prompt), encode(chosen), encode(rejected)))
    return pairs


def peak_memory() -> int:
    """The most bytes that this process has had resident."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell the peak memory")
