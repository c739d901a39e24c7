"""Compares decodeImage of libs/multimodal with Pillow's convert("RGB"), pixel for pixel.

    npx tsc -b libs/multimodal/tsconfig.lib.json && python tools/oracle/picture_pixels.py

Needs numpy and Pillow, and node on the path. Prints the worst difference by kind of file; fails unless all are 0.
"""

import collections
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

DECODER = pathlib.Path(__file__).parents[2] / "libs/multimodal/dist/index.js"
SCRIPT = f"""
import {{ readFileSync, writeFileSync }} from 'node:fs';
import {{ decodeImage }} from '{DECODER}';
for (const file of process.argv.slice(1)) {{
  const {{ rgb }} = await decodeImage(readFileSync(file), {{ param: 'image', maxPixels: 5e7 }});
  writeFileSync(file + '.raw', rgb);
}}
"""
SIZES = [(64, 64), (257, 255), (640, 480), (33, 17), (1, 1), (5, 300)]


def write_pictures(folder):
    """Yields (kind, file) for each size in each kind of file."""
    random = np.random.default_rng(1)
    for width, height in SIZES:
        noise = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        for kind, mode, name, options in [
            ("PNG RGB", "RGB", "rgb.png", {}),
            ("PNG grey", "L", "grey.png", {}),
            ("PNG palette", "P", "palette.png", {}),
            ("PNG 1 bit", "1", "bit.png", {}),
            ("JPEG 4:4:4", "RGB", "444.jpg", {"quality": 90, "subsampling": 0}),
            ("JPEG 4:2:2", "RGB", "422.jpg", {"quality": 90, "subsampling": 1}),
            ("JPEG 4:2:0", "RGB", "420.jpg", {"quality": 90, "subsampling": 2}),
            ("JPEG progressive", "RGB", "progressive.jpg", {"quality": 70, "progressive": True}),
            ("JPEG grey", "L", "grey.jpg", {}),
            ("JPEG CMYK", "CMYK", "cmyk.jpg", {}),
            ("WebP", "RGB", "lossy.webp", {"quality": 80}),
            ("WebP lossless", "RGB", "lossless.webp", {"lossless": True}),
            ("GIF", "RGB", "plain.gif", {}),
        ]:
            file = folder / f"{width}x{height}-{name}"
            picture.convert(mode).save(file, **options)
            yield kind, file


def main():
    with tempfile.TemporaryDirectory() as name:
        files = list(write_pictures(pathlib.Path(name)))
        names = [str(file) for _, file in files]
        subprocess.run(["node", "--input-type=module", "-e", SCRIPT, *names], check=True, cwd=DECODER.parent)
        worst = collections.Counter()
        for kind, file in files:
            wanted = np.asarray(Image.open(file).convert("RGB")).astype(int).reshape(-1)
            got = np.fromfile(f"{file}.raw", np.uint8)
            worst[kind] = max(worst[kind], int(np.abs(wanted - got).max()) if got.size == wanted.size else 256)
    for kind, difference in sorted(worst.items()):
        print(f"{kind}: {difference}")
    sys.exit(any(worst.values()))


main()
