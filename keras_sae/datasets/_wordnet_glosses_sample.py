"""The shipped sample of embeddings: 1,600 training and 800 test definitions from WordNet 3.0, embedded by all-MiniLM-L6-v2.

It is a file of arrays, which you can read without TensorFlow: float16 vectors of 384 entries and norm 1, and as labels the 45
lexicographer files, such as noun.food. `benchmarks/draw_glosses.py` made it. WordNet 3.0, (c) 2006 Princeton University, under
the licence in `wordnet_glosses_sample.LICENSE`.
"""

from pathlib import Path

GLOSSES_SAMPLE = "wordnet_glosses_sample"
FILE = Path(__file__).resolve().parent / f"{GLOSSES_SAMPLE}.npz"
