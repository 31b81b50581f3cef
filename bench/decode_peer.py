"""Tokens per second of transformers' generate, to compare with `tabpo bench decode` on the same folder.

    python bench/decode_peer.py --model DIR [--batch 8] [--prompts 64] [--prompt-tokens 128] [--new-tokens 128]

Greedy decoding of random prompts of equal length, no stop token, in f32 and in bf16; the first batch
of each is not counted. The best of --repeats runs is printed as JSON.
"""

import argparse
import json
import time

import torch
from transformers import AutoModelForCausalLM, GenerationConfig


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = {"threads": arguments.threads, "batch": arguments.batch}
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype).eval()
        model.generation_config = GenerationConfig(
            do_sample=False, max_new_tokens=arguments.new_tokens, min_new_tokens=arguments.new_tokens, pad_token_id=0
        )
        model.config.eos_token_id = None
        shape = (arguments.prompts, arguments.prompt_tokens)
        prompts = torch.randint(0, model.config.vocab_size, shape, generator=torch.Generator().manual_seed(1))
        best = 0.0
        with torch.no_grad():
            model.generate(prompts[: arguments.batch], attention_mask=torch.ones_like(prompts[: arguments.batch]))
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                for batch in prompts.split(arguments.batch):
                    output = model.generate(batch, attention_mask=torch.ones_like(batch))
                    assert output.shape[1] == arguments.prompt_tokens + arguments.new_tokens
                tokens = arguments.prompts * arguments.new_tokens
                best = max(best, tokens / (time.perf_counter() - start))
        result[f"{name}_tokens_per_second"] = round(best, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
