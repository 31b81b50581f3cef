#!/usr/bin/env python3
"""usage: seeds.py [FOLDER]

Fills corpus/TARGET for every fuzz target from this repository's examples and tests, from the seeds below, and
from FOLDER, where there is one: inputs that once failed, in folders of their own. Names of seeds are digests of
their contents, so that running it again changes nothing.
"""
import hashlib
import json
import re
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
LARGEST = 65536
SEPARATOR = b"\n%%\n"
# What the ontologies of examples call labels, and what the ontology of the targets calls them.
LABELS = {
    "Task": "Tool", "Method": "Part", "Metric": "Place", "Material": "Place", "OtherScientificTerm": "Part",
    "Generic": "Place", "Used-for": "kept-in", "Feature-of": "works-on", "Hyponym-of": "kept-in",
    "Part-of": "works-on", "Evaluate-for": "kept-in", "Compare": "beside", "Conjunction": "beside",
}
# Targets whose files may be meant for any of them.
JSON_READERS = [
    "corpus_annotation_tools", "corpus_doccano", "corpus_dygie", "corpus_jsonl", "corpus_label_studio",
    "corpus_scier", "corpus_token_lists", "predictions",
]


def put(target, data):
    """One seed of a target."""
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(data) <= LARGEST:
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(data).hexdigest()[:20]).write_bytes(data)


def relabelled(text):
    """A text with the labels of the targets' ontology in quotes."""
    return re.sub(r'"([^"\n]+)"', lambda match: f'"{LABELS.get(match[1], match[1])}"', text)


def json_values(path):
    """The values of a file of JSON or of JSON lines."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    try:
        return [json.loads(text)]
    except ValueError:
        values = []
        for line in text.splitlines():
            try:
                values.append(json.loads(line))
            except ValueError:
                pass
        return values


def replies(value):
    """The replies of an endpoint that a file lists."""
    for rule in value if isinstance(value, list) else []:
        for reply in rule.get("replies", []) if isinstance(rule, dict) else []:
            body = reply.get("body", "")
            body = body if isinstance(body, str) else json.dumps(body)
            after = next((str(v) for k, v in reply.get("headers", {}).items() if k.lower() == "retry-after"), "")
            yield f"{reply.get('status', 200)} {after}".rstrip() + "\n" + body
            for choice in reply["body"].get("choices", []) if isinstance(reply["body"], dict) else []:
                content = (choice.get("message") or {}).get("content")
                if isinstance(content, str):
                    put("answer_bytes", content)


def of_json(path, data):
    """A file of JSON may be meant for many readers; each gets it."""
    for target in JSON_READERS:
        put(target, data)
        put(target, relabelled(data.decode("utf-8", "replace")))
        # The first lines, where the whole is large.
        put(target, b"".join(data.splitlines(keepends=True)[:3]))
    for value in json_values(path):
        for reply in replies(value):
            put("endpoint_reply", reply)
        for line in value if isinstance(value, list) else [value]:
            if isinstance(line, dict) and isinstance(line.get("output"), str):
                put("answer_bytes", line["output"])


def of_tokenizer(path):
    """A tokenizer with what stands beside it."""
    names = ["tokenizer_config.json", "added_tokens.json", "special_tokens_map.json", "generation_config.json"]
    beside = [path.parent / name for name in names]
    parts = [path.read_bytes()] + [other.read_bytes() if other.is_file() else b"" for other in beside]
    put("tokenizer", SEPARATOR.join(parts))
    for other in path.parent.glob("tokenizer_config-*.json"):
        put("tokenizer", SEPARATOR.join([parts[0], other.read_bytes(), *parts[2:]]))


def of_file(path):
    """The seeds that a file gives."""
    data = path.read_bytes()
    suffix, name = path.suffix, path.name
    if name == "config.json":
        put("model_config", data)
    elif name.startswith("tokenizer") and not name.startswith("tokenizer_config") and suffix == ".json":
        of_tokenizer(path)
    elif name == "adapter_config.json":
        weights = path.parent / "adapter_model.safetensors"
        put("model_adapter", data + SEPARATOR + (weights.read_bytes() if weights.is_file() else b""))
    elif name.endswith(".safetensors.index.json"):
        put("model_weights", SEPARATOR + data)
    elif name == "expressions.json":
        for case in json.loads(data)["cases"]:
            put("chat_template", case["source"])
    elif suffix == ".jinja":
        put("chat_template", data)
    elif suffix == ".safetensors":
        put("model_weights", data)
    elif suffix == ".gguf":
        put("gguf", data)
    elif suffix == ".conf":
        put("ontology_brat", data)
    elif suffix == ".ann":
        text = path.with_suffix(".txt")
        settings = next((place for place in [path.parent, path.parent.parent]
                         if (place / "annotation.conf").is_file()), None)
        parts = [text.read_bytes() if text.is_file() else b"", data]
        put("corpus_brat", SEPARATOR.join(parts))
        if settings:
            put("corpus_brat", SEPARATOR.join([*parts, (settings / "annotation.conf").read_bytes()]))
    elif suffix == ".toml" and b"[[pattern]]" in data:
        put("patterns", relabelled(data.decode()))
        # One pattern each, so that one that is refused does not hide the others.
        words, *patterns = re.split(r"(?m)^(?=\[\[pattern\]\])", relabelled(data.decode()))
        for pattern in patterns:
            put("patterns", words + pattern)
    elif suffix == ".toml" and (b"[[entity]]" in data or b"[ontology]" in data):
        put("ontology_toml", data)
    elif suffix in (".json", ".jsonl", ".gz"):
        of_json(path, data)


def in_rust(path):
    """Files that tests write out: bodies of replies, and raw strings of what they look like."""
    source = path.read_text(encoding="utf-8")
    if "remote" in path.parts:
        for body in re.findall(r"json!\((\{.*?\})\)[,;)]", source):
            try:
                json.loads(body)
            except ValueError:
                continue
            for status in [200, 400, 429, 500]:
                put("endpoint_reply", f"{status} 1\n{body}")
    for text in re.findall(r'r#"(.*?)"#', source, re.DOTALL):
        if "[[pattern]]" in text:
            put("patterns", relabelled(text))
        elif "[[entity]]" in text:
            put("ontology_toml", text)
        elif "[entities]" in text:
            put("ontology_brat", text)
        elif '"choices"' in text or '"error"' in text:
            put("endpoint_reply", "200\n" + text)
        elif text.lstrip().startswith("{"):
            put("answer_bytes", text)
            for target in JSON_READERS:
                put(target, text)


def safetensors(tensors, kind="F32"):
    """A file of tensors of this type by name and shape, all elements 0."""
    size = {"F32": 4, "BF16": 2, "F16": 2}[kind]
    header, offset = {}, 0
    for name, shape in tensors:
        count = size
        for length in shape:
            count *= length
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


def gguf(pairs, tensors):
    """A GGUF file with metadata of these keys, types and values, and tensors of one type's code, length and bytes."""
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    def value(kind, content):
        if isinstance(kind, list):
            return struct.pack("<IQ", kind[0], len(content)) + b"".join(value(kind[0], part) for part in content)
        return text(content) if kind == 8 else struct.pack({4: "<I", 5: "<i", 6: "<f", 7: "<?"}[kind], content)

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, (kind, content) in pairs.items():
        head += text(key) + struct.pack("<I", 9 if isinstance(kind, list) else kind) + value(kind, content)
    data = b""
    for name, (kind, length, content) in tensors.items():
        head += text(name) + struct.pack("<IQIQ", 1, length, kind, len(data))
        data += content.ljust(-(-len(content) // 32) * 32, b"\0")
    return head.ljust(-(-len(head) // 32) * 32, b"\0") + data


def written():
    """Seeds for what is in no file: small models, and what runs leave behind."""
    layer = "model.layers.0."
    tensors = [("model.embed_tokens.weight", [8, 4]), ("model.norm.weight", [4]),
               (layer + "input_layernorm.weight", [4]), (layer + "post_attention_layernorm.weight", [4]),
               (layer + "self_attn.q_proj.weight", [4, 4]), (layer + "self_attn.k_proj.weight", [2, 4]),
               (layer + "self_attn.v_proj.weight", [2, 4]), (layer + "self_attn.o_proj.weight", [4, 4]),
               (layer + "mlp.gate_proj.weight", [4, 4]), (layer + "mlp.up_proj.weight", [4, 4]),
               (layer + "mlp.down_proj.weight", [4, 4])]
    for kind in ["F32", "BF16", "F16"]:
        put("model_weights", safetensors(tensors, kind))
    put("model_weights", safetensors(tensors[:5]))
    bare = [(name.removeprefix("model."), shape) for name, shape in tensors]
    put("model_weights", safetensors(bare + [("lm_head.weight", [8, 4])]))

    numbers = {f"llama.{key}": (4, 2) for key in
               ["block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"]}
    numbers["llama.attention.layer_norm_rms_epsilon"] = (6, 1e-5)
    scaling = {"llama.rope.scaling.type": (8, "yarn"), "llama.rope.scaling.factor": (6, 2.0),
               "llama.rope.scaling.original_context_length": (4, 8)}
    tokens = {"tokenizer.ggml.tokens": ([8], ["a", "b", "ab"]), "tokenizer.ggml.token_type": ([5], [1, 1, 3]),
              "tokenizer.ggml.eos_token_id": (4, 2), "tokenizer.ggml.add_bos_token": (7, True)}
    merges = {"tokenizer.ggml.model": (8, "gpt2"), "tokenizer.ggml.merges": ([8], ["a b"])}
    scores = {"tokenizer.ggml.model": (8, "llama"), "tokenizer.ggml.scores": ([6], [0.0, -1.0, -2.0])}
    tensors = {"token_embd.weight": (8, 32, bytes(34)), "blk.0.attn_norm.weight": (0, 2, bytes(8))}
    architecture = {"general.architecture": (8, "llama")}
    put("gguf", gguf(architecture | numbers | merges | tokens, tensors))
    put("gguf", gguf(architecture | numbers | scaling | scores | tokens, {}))
    put("gguf", gguf({"general.alignment": (4, 8), "nested": ([9], [])}, tensors))

    record = b"RLP2" + bytes(range(32)) + struct.pack("<I", 2) + struct.pack("<2d", -0.5, -1.5) + bytes(16)
    put("reference_cache", record)
    put("reference_cache", record + b"damage" + record)
    put("reference_cache", b"RLP2" + bytes(32) + b"\xff\xff\xff\xff" + bytes(40))

    step = '{"kind":"sft-step","step":%d,"epoch":0,"loss":1.5,"learning_rate":null,"roles":{},"skipped":[]}\n'
    put("metrics_log", step % 1 + step % 2)
    put("metrics_log", step % 1 + "damaged\n\n" + step % 2 + '{"kind":"sft')

    digest = "0123456789abcdef" * 4
    answer = {"kind": "answer", "digest": digest, "model": "m", "outcome": "answered", "text": "{}",
              "usage": {"prompt": 3, "completion": 2}, "channel": "live", "latency_ms": 1, "attempts": 1,
              "unix_time": 1, "sum": "0" * 16}
    line = json.dumps(answer, separators=(",", ":")) + "\n"
    unsettled = json.dumps({"kind": "unsettled", "digest": digest, "why": "late"}, separators=(",", ":")) + "\n"
    for text in [line, line + unsettled + line, line + "damaged\n" + line[:40] + line, line + line[:-9]]:
        put("response_cache", text)

    chosen = '{"entities":[{"id":"e1","text":"drill","type":"Tool"}],"relations":[]}'
    pair = {"id": "a:0:0", "doc_key": "a", "sent": 0, "prompt": "A drill .", "chosen": chosen,
            "rejected": chosen.replace("Tool", "Part"), "distance_tokens": 1, "weight": 1.0,
            "edit": {"kind": "label", "source": "mode", "pattern": None, "from": "Tool", "to": "Part", "item": "e1"}}
    line = json.dumps(pair) + "\n"
    put("pair_records", line)
    put("pair_records", line + line.replace("Part", "Place") + "{}\n")

    for sent in ["0", "null"]:
        lines = [json.dumps({"doc_key": key, "sent": json.loads(sent), "output": chosen}) for key in "abcd"]
        put("predictions", "\n".join(lines))
        put("predictions", "\n".join(reversed(lines)))
    put("predictions", '{"doc_key":"a","predicted_ner":[[[1,1,"Tool"]],[[6,7,"Part"]]],'
                       '"predicted_relations":[[[1,1,4,4,"beside"]],[]]}\n')
    put("corpus_pubtator", "7|t|A drill|press\n7|a|It hums by the lathe .\n7\t2\t7\tdrill\tTool\tA1,A2\n7\t29\t34\tlathe\tTool\tA3\n"
                           "7\tbeside\tA2\tA3\tNovel\n\n8|t|Bolts\n8|a|\n8\t0\t5\tBolts\tPart\t-1\n")
    put("corpus_scier", '{"doc_id": "a", "sentence": "A drill by a drill press", "ner": [["drill", "Tool"], ["drill press", "Tool"]], '
                        '"rel": [["drill", "beside", "drill press"]], "rel_plus": [["drill:Tool", "beside", "drill press:Tool"]]}\n'
                        '{"doc_id": "a", "sentence": "Bolts", "ner": [["Bolts", "Part"]], "rel": []}\n')
    put("patterns", '[[pattern]]\nid = "P"\nkind = "label"\nfrom = ["Tool"]\nto = ["Part"]\nrationale = "x"\n')


def main():
    written()
    folders = [REPOSITORY / "examples", REPOSITORY / "crates", REPOSITORY / "fixtures"]
    for folder in folders + [Path(argument) for argument in sys.argv[1:]]:
        if not folder.is_dir():
            sys.exit(f"seeds.py: {folder} is no folder")
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix == ".rs":
                in_rust(path)
            elif path.is_file() and "target" not in path.parts and path.stat().st_size <= 1 << 20:
                of_file(path)
    for folder in sorted((HERE / "corpus").iterdir()):
        print(f"{folder.name}: {sum(1 for _ in folder.iterdir())}")


main()
