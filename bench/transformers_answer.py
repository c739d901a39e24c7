"""Answers one question about one picture with transformers on the CPU, again and again.

Usage: transformers_answer.py MODEL_DIR PICTURE QUESTION THREADS. Reads a line from standard input for
every answer and prints {"seconds", "first_seconds", "tokens", "text"}: from the encoded picture to the
whole text, greedy, float32, with transformers' default attention.
"""

import io
import json
import pathlib
import sys
import time

import torch
import transformers
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.generation.streamers import BaseStreamer


class FirstToken(BaseStreamer):
    """Notes when the first new token came."""

    def __init__(self) -> None:
        self.at = None
        self.prompt_seen = False

    def put(self, value) -> None:
        if self.prompt_seen and self.at is None:
            self.at = time.perf_counter()
        self.prompt_seen = True

    def end(self) -> None:
        pass


def main() -> None:
    model_dir, picture, question, threads = sys.argv[1:5]
    torch.set_num_threads(int(threads))
    processor = AutoProcessor.from_pretrained(model_dir)
    model = AutoModelForImageTextToText.from_pretrained(model_dir, dtype=torch.float32).eval()
    encoded = pathlib.Path(picture).read_bytes()
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__}), flush=True)
    for _ in sys.stdin:
        first = FirstToken()
        start = time.perf_counter()
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
        inputs = processor(text=prompt, images=[image], return_tensors="pt")
        with torch.inference_mode():
            out = model.generate(**inputs, do_sample=False, max_new_tokens=64, streamer=first)
        ids = out[0, inputs["input_ids"].shape[1] :]
        text = processor.decode(ids, skip_special_tokens=True)
        seconds = time.perf_counter() - start
        print(
            json.dumps({"seconds": seconds, "first_seconds": first.at - start, "tokens": len(ids), "text": text}),
            flush=True,
        )


main()
