"""Makes a data set of labelled colour images from emoji: a folder with `train/CLASS/` and `test/CLASS/`.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    for each in google twitter; do mkdir $each; tar xzf emoji-datasource-$each-16.0.0.tgz -C $each; done
    python benchmarks/emoji.py emoji google/package twitter/package
    python benchmarks/transfer.py --preset cifar10_conv_small_ksparse --task emoji --size 32

Each folder has `emoji.json` and drawings of 64 x 64 pixels in `img/*/64`. Classes are the groups of Unicode, without flags:
faces, people, animals and plants, food, travel and places, activities, objects, symbols. Transparent pixels become white.
Drawings of Google are under the Apache License 2.0, those of Twitter under CC BY 4.0, and the list under the MIT licence. This
repository has none of them.

A quarter of the emoji is held out, in all drawings. No emoji stands on both sides, and variants by skin, gender and profession
are one emoji here. So is what looks alike: a held-out emoji moves to the training side if one of its drawings differs by less
than 4 % of the range of pixels, in the mean, from a drawing there.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

LEFT_OUT = ("Flags", "Component")
# Joiners, signs of gender, persons, hearts, arrows: they make variants of what stands beside them.
OF_VARIANTS = {"200D", "FE0F", "2640", "2642", "2764", "27A1", "1F48B", "1F466", "1F467", "1F468", "1F469", "1F476", "1F9D1"}
NEAR = 0.04


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="to write: train/CLASS/ and test/CLASS/")
    parser.add_argument("packages", type=Path, nargs="+", help="unpacked folders with emoji.json and img/*/64")
    options = parser.parse_args()
    drawings = [drawing for package in options.packages for drawing in read(package)]
    held_out = held_out_of(drawings)
    for key, group, name, pixels in drawings:
        file = options.folder / ("test" if key in held_out else "train") / group / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    groups = sorted({group for _, group, _, _ in drawings})
    in_test = sum(key in held_out for key, *_ in drawings)
    print(f"{len(drawings) - in_test:,} training images, {in_test:,} test images, {len(groups)} classes: {', '.join(groups)}")


def read(package):
    """The emoji of a package: key of the emoji, class, name of the file, and pixels on white."""
    folder = next(package.glob("img/*/64"))
    for emoji in json.loads((package / "emoji.json").read_text()):
        file = folder / emoji["image"]
        if emoji["category"] not in LEFT_OUT and file.exists():
            drawing = Image.open(file).convert("RGBA")
            pixels = Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB")
            group, name = emoji["category"].replace(" & ", "_and_"), f"{folder.parent.name}_{file.name}"
            yield key_of(emoji["unified"]), group, name, np.array(pixels)


def key_of(code_points):
    """What variants of one emoji have in common: the first code point that does not make a variant."""
    own = [each for each in code_points.split("-") if each not in OF_VARIANTS and not "1F3FB" <= each <= "1F3FF"]
    return own[0] if own else "person"


def held_out_of(drawings):
    """The keys of a quarter of the emoji, less those of which a drawing is nearly the same as one of the others."""
    keys = np.array([key for key, *_ in drawings])
    small = [Image.fromarray(pixels).resize((16, 16), Image.Resampling.BOX) for *_, pixels in drawings]
    small = np.stack(small).reshape(len(drawings), -1).astype("float32") / 255
    near = np.stack([np.abs(small - each).mean(axis=1) for each in small]) < NEAR
    held_out = {key for key in keys if int(hashlib.sha256(key.encode()).hexdigest(), 16) % 4 == 0}
    while True:
        in_test = np.isin(keys, sorted(held_out))
        moved = set(keys[in_test & near[:, ~in_test].any(axis=1)])
        if not moved:
            return held_out
        held_out -= moved


if __name__ == "__main__":
    main()
