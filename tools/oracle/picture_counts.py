"""Writes the picture sizes and the token counts that transformers' Idefics3Processor gives for them.

    python tools/oracle/picture_counts.py deploy/models/emoji-vlm > libs/model/src/pictures/picture-counts.fixture.json

Needs torch, torchvision, transformers and Pillow. `counts` holds [width, height, rows, columns, tokens of the span]
with the folder's own settings, `grids` [width, height, rows, columns] with other longest sides and tiles, among them
odd ones and such that are no multiples of each other. A size that the processor refuses has null for its results.
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


OTHER_SETTINGS = [(255, 51), (1000, 364), (200, 333), (640, 77), (96, 96)]


def grid_of(processor, picture, **settings):
    grid = processor([[picture]], return_row_col_info=True, **settings)
    return [int(grid["rows"][0][0]), int(grid["cols"][0][0])]


def attempt(count, compute, width, height):
    """The results for a size, or as many nulls."""
    try:
        return [width, height, *compute(Image.new("RGB", (width, height), (10, 20, 30)))]
    except Exception as error:
        print(width, height, type(error).__name__, error, file=sys.stderr)
        return [width, height, *[None] * count]


def main():
    processor = AutoProcessor.from_pretrained(sys.argv[1])

    def counts(picture):
        ids = processor(images=[picture], text=processor.image_token)["input_ids"][0]
        return [*grid_of(processor.image_processor, picture), len(ids)]

    result = {"counts": [attempt(3, counts, *size) for size in sizes()], "grids": []}
    for longest, tile in OTHER_SETTINGS:

        def grids(picture):
            size, tiles = {"longest_edge": longest}, {"longest_edge": tile}
            return grid_of(processor.image_processor, picture, size=size, max_image_size=tiles)

        rows = [attempt(2, grids, *size) for size in list(sizes())[::3]]
        result["grids"].append({"longestEdgePx": longest, "tilePx": tile, "rows": rows})
    print(json.dumps(result))


main()
