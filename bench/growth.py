#!/usr/bin/env python3
"""Shows that reading and scoring take time in proportion to their input: each format at two sizes.

    growth.py BINARY [--size N]

A size is the number of mentions of one document; the second is four times the first. Printed is processor
time, the shortest of three runs. Exit 1 if four times the input takes more than eight times as long
(a square would be sixteen times).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ONTOLOGY = '[[entity]]\nname = "Tool"\n[[entity]]\nname = "Part"\n[[relation]]\nname = "near"\n'
SENTENCE = "The drill hangs by the lathe. "
OFTEN = 3


def spans(mentions):
    return [(30 * i + a, 30 * i + b) for i in range(mentions // 2) for a, b in ((4, 9), (23, 28))]


def jsonl(folder, mentions):
    entities = [{"start": a, "end": b, "type": "Tool"} for a, b in spans(mentions)]
    relations = [{"head": 2 * i, "type": "near", "tail": 2 * i + 1} for i in range(mentions // 2)]
    document = {"doc_key": "a", "text": SENTENCE * (mentions // 2), "entities": entities, "relations": relations}
    (folder / "a.jsonl").write_text(json.dumps(document))
    return "a.jsonl"


def doccano(folder, mentions):
    entities = [{"id": i, "start_offset": a, "end_offset": b, "label": "Tool"} for i, (a, b) in enumerate(spans(mentions))]
    relations = [{"id": i, "from_id": 2 * i, "to_id": 2 * i + 1, "type": "near"} for i in range(mentions // 2)]
    document = {"id": 1, "text": SENTENCE * (mentions // 2), "entities": entities, "relations": relations}
    (folder / "a.jsonl").write_text(json.dumps(document))
    return "a.jsonl"


def label_studio(folder, mentions):
    text = SENTENCE * (mentions // 2)
    result = [
        {"id": str(i), "type": "labels", "value": {"start": a, "end": b, "text": text[a:b], "labels": ["Tool"]}}
        for i, (a, b) in enumerate(spans(mentions))
    ]
    result += [
        {"type": "relation", "from_id": str(2 * i), "to_id": str(2 * i + 1), "direction": "right", "labels": ["near"]}
        for i in range(mentions // 2)
    ]
    (folder / "a.json").write_text(json.dumps([{"id": 1, "data": {"text": text}, "annotations": [{"result": result}]}]))
    return "a.json"


def brat(folder, mentions):
    text = SENTENCE * (mentions // 2)
    lines = [f"T{i}\tTool {a} {b}\t{text[a:b]}" for i, (a, b) in enumerate(spans(mentions))]
    lines += [f"R{i}\tnear Arg1:T{2 * i} Arg2:T{2 * i + 1}" for i in range(mentions // 2)]
    (folder / "brat").mkdir()
    (folder / "brat" / "a.txt").write_text(text)
    (folder / "brat" / "a.ann").write_text("\n".join(lines) + "\n")
    return "brat"


def dygie(folder, mentions):
    """All in one sentence, mentions alike."""
    ner = [[i, i, "Tool"] for i in range(mentions)]
    relations = [[i, i, i + 1, i + 1, "near"] for i in range(0, mentions - 1, 2)]
    document = {"doc_key": "a", "sentences": [["a"] * 2 * mentions], "ner": [ner], "relations": [relations]}
    (folder / "a.jsonl").write_text(json.dumps(document))
    return "a.jsonl"


def overlapping(folder, mentions):
    """Mentions that hold each other."""
    ner = [[i, 2 * mentions - 1 - i, "Tool"] for i in range(mentions)]
    tokens = [f"w{i}" for i in range(2 * mentions)]
    (folder / "a.jsonl").write_text(json.dumps({"doc_key": "a", "sentences": [tokens], "ner": [ner]}))
    return "a.jsonl"


def answer(folder, tokens, entities, relations=()):
    document = {"doc_key": "a", "sentences": [tokens], "ner": [[[0, 0, "Tool"]]]}
    (folder / "a.jsonl").write_text(json.dumps(document))
    output = json.dumps({"entities": entities, "relations": list(relations)})
    (folder / "p.jsonl").write_text(json.dumps({"doc_key": "a", "sent": 0, "output": output}))
    return None


def same_text(folder, mentions):
    """An answer with more equal texts than the source has."""
    return answer(folder, ["a", "b"] * (mentions // 4), [{"id": f"e{i}", "text": "a", "type": "Tool"} for i in range(mentions)])


def different_texts(folder, mentions):
    tokens = [f"word{i}" for i in range(mentions)]
    return answer(folder, tokens, [{"id": f"e{i}", "text": token, "type": "Tool"} for i, token in enumerate(tokens)])


INPUTS = [jsonl, doccano, label_studio, brat, dygie, overlapping, same_text, different_texts]


def seconds(binary, make, size):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ontology.toml").write_text(ONTOLOGY)
        corpus = make(folder, size)
        command = [str(binary), "--threads", "1"]
        command += ["corpus", "stats", "--json", corpus] if corpus else ["eval", "--resamples", "0", "--gold", "a.jsonl", "--pred", "p.jsonl"]
        times = []
        for _ in range(OFTEN):
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            subprocess.run([*command, "--ontology", "ontology.toml"], cwd=folder, check=True, capture_output=True)
            times.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
        return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--size", type=int, default=20000)
    arguments = parser.parse_args()
    worst = 0
    for make in INPUTS:
        small, large = (seconds(arguments.binary.resolve(), make, size) for size in (arguments.size, 4 * arguments.size))
        ratio = large / max(small, 0.01)
        worst = max(worst, ratio)
        print(f"{make.__name__:16} {arguments.size}: {small:.2f} s, {4 * arguments.size}: {large:.2f} s, {ratio:.1f} times")
    sys.exit(worst > 8)


if __name__ == "__main__":
    main()
