"""Serves a small model over an OpenAI-compatible API, for trying `tabpo predict --endpoint`.

    pip install torch "transformers[serving]"
    python bench/remote_peer.py DIRECTORY [MODEL_FOLDER] [--port 8000]
    python bench/remote_peer.py DIRECTORY MODEL_FOLDER --tabpo target/release/tabpo \
        --ontology ontology.toml --data test.jsonl

The second form asks the server and the local engine for the same documents and says how many answers
are the same. It wants a model of the local engine, from a run or made at random.

The server is `transformers serve`. Without MODEL_FOLDER a Llama with random weights and a byte-level
tokenizer is made; a MODEL_FOLDER without chat template (a model trained from scratch) is copied and
gets the plain template that `tabpo serve-config` prints. Whatever is served lies in
DIRECTORY/model, and that path is the model's name at the endpoint.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PLAIN_TEMPLATE = "{{ messages[-1]['content'] }}<|assistant|>"


def make_model(folder: pathlib.Path) -> None:
    """A two-layer Llama with random weights and a tokenizer of the 256 bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(special + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", additional_special_tokens=special[1:]
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=8192,
        bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def answers(file: pathlib.Path) -> list[str]:
    return [json.loads(line)["output"] for line in file.read_text().splitlines()]


def drive(arguments: argparse.Namespace, folder: pathlib.Path) -> int:
    """Asks the local engine and the server for the same documents, greedily, and compares."""
    base = f"http://127.0.0.1:{arguments.port}/v1"
    while True:
        try:
            urllib.request.urlopen(base.removesuffix("/v1") + "/health", timeout=5).close()
            break
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(1)
    out = arguments.directory.resolve()
    common = ["--ontology", arguments.ontology, "--data", arguments.data]
    jobs = {
        "local": ["--model", str(arguments.model or folder), "--max-new-tokens", "256"],
        "remote": ["--endpoint", base, "--model", str(folder), "--structure", "none", "--max-tokens", "256",
                   "--cache", str(out / "answers")],
    }
    for name, job in jobs.items():
        subprocess.run([arguments.tabpo, "predict", *job, *common, "--out", str(out / f"{name}.jsonl")], check=True)
    local, remote = answers(out / "local.jsonl"), answers(out / "remote.jsonl")
    equal = sum(a == b for a, b in zip(local, remote, strict=True))
    print(f"{equal} of {len(local)} answers are the same")
    return 0 if equal == len(local) else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path, nargs="?")
    parser.add_argument("--port", default="8000")
    parser.add_argument("--tabpo", help="drive the server with this binary, compare with its local engine, and stop")
    parser.add_argument("--ontology", help="for --tabpo: the ontology file")
    parser.add_argument("--data", help="for --tabpo: the documents")
    arguments = parser.parse_args()

    folder = arguments.directory.resolve() / "model"
    if not folder.exists():
        if arguments.model is None:
            make_model(folder)
        else:
            shutil.copytree(arguments.model, folder)
            if not (folder / "chat_template.jinja").exists():
                (folder / "chat_template.jinja").write_text(PLAIN_TEMPLATE)
    print(f"serving {folder} at http://127.0.0.1:{arguments.port}/v1", flush=True)
    command = pathlib.Path(sys.executable).with_name("transformers")
    starter = [str(command)] if command.exists() else [sys.executable, "-m", "transformers.cli.transformers"]
    serve = ["serve", str(folder), "--host", "127.0.0.1", "--port", arguments.port, "--device", "cpu"]
    server = subprocess.Popen(starter + serve + ["--dtype", "float32"])
    try:
        sys.exit(drive(arguments, folder) if arguments.tabpo else server.wait())
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
