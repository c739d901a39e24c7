"""Writes the picture sizes and the token counts that transformers' Idefics3Processor gives for them.

    python tools/oracle/picture_counts.py deploy/models/emoji-vlm > libs/model/src/pictures/picture-counts.fixture.json

Needs torch, torchvision, transformers and Pillow. Each row is [width, height, rows, columns, tokens of the span];
a size that the processor itself refuses has null in place of the last three.
"""

import json
import random
import sys

from PIL import Image
from transformers import AutoProcessor

NAMED = [
    (257, 256), (256, 257), (255, 254), (1000, 333), (333, 1000), (129, 128), (128, 129), (1093, 5), (5, 1093),
    (3, 200), (200, 3), (1, 1), (1, 2), (2, 1), (1, 200), (200, 1), (3, 3), (4, 4), (1, 3), (3, 1), (64, 64), (65, 64),
    (64, 65), (63, 63), (256, 256), (512, 512), (4096, 4096), (5000, 100), (100, 5000), (4097, 17), (17, 4097),
    (256, 64), (256, 65), (256, 63), (64, 256), (65, 256), (256, 128), (128, 256), (256, 192), (1920, 1080),
    (1080, 1920), (2000, 1), (1, 2000), (3000, 2), (2, 3000),
]


def sizes():
    random.seed(5)
    yield from NAMED
    for _ in range(130):
        yield random.randint(1, 700), random.randint(1, 700)
    for _ in range(70):
        yield random.randint(1, 40), random.randint(1, 2500)
    for _ in range(70):
        yield random.randint(1, 2500), random.randint(1, 40)


def main():
    processor = AutoProcessor.from_pretrained(sys.argv[1])
    image = processor.image_token
    rows = []
    for width, height in sizes():
        try:
            picture = Image.new("RGB", (width, height), (10, 20, 30))
            grid = processor.image_processor([[picture]], return_row_col_info=True)
            ids = processor(images=[picture], text=image)["input_ids"][0]
            rows.append([width, height, int(grid["rows"][0][0]), int(grid["cols"][0][0]), len(ids)])
        except Exception as error:
            print(width, height, type(error).__name__, error, file=sys.stderr)
            rows.append([width, height, None, None, None])
    print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")


main()
