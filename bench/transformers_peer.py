"""Drives transformers on the CPU for `kvcapsule bench engine`. Usage: transformers_peer.py MODEL_DIR THREADS DTYPE.

Speaks the protocol of bench/llama.cpp/llama_peer.cc: one JSON object a line in, one out. The text part of the model
runs with a DynamicCache and transformers' default attention, greedy, prompts of equal length as one batch.
"""

import json
import sys
import time

import torch
from transformers import AutoModelForImageTextToText, DynamicCache

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


class Peer:
    """The model and the cache of the sequences that were prefilled last."""

    def __init__(self, model_dir: str, dtype: str) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(model_dir, dtype=DTYPES[dtype]).eval()
        self.cache = DynamicCache()
        self.next = torch.empty((0, 1), dtype=torch.long)

    def forward(self, ids: torch.Tensor) -> float:
        """Feeds ids [sequences, rows]; keeps the most likely next tokens; seconds it took."""
        start = time.perf_counter()
        out = self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.next = out.logits[:, -1].argmax(-1, keepdim=True)
        return time.perf_counter() - start

    def answer(self, request: dict) -> dict:
        """The answer to one request of the protocol."""
        if request["op"] == "open":
            return {}
        cpu = time.process_time()
        answer = self.compute(request)
        return {**answer, "cpuSeconds": time.process_time() - cpu}

    def compute(self, request: dict) -> dict:
        if request["op"] == "prefill":
            self.cache = DynamicCache()
            seconds = self.forward(torch.tensor(request["prompts"]))
            return {"seconds": seconds, "tokens": self.next[:, 0].tolist()}
        if request["op"] != "decode":
            raise ValueError(f"unknown op {request['op']}")
        seconds, tokens = [], []
        for _ in range(request["steps"]):
            seconds.append(self.forward(self.next))
            tokens.append(self.next[:, 0].tolist())
        return {"seconds": seconds, "tokens": tokens}


def main() -> None:
    model_dir, threads, dtype = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    peer = Peer(model_dir, dtype)
    with torch.inference_mode():
        for line in sys.stdin:
            print(json.dumps(peer.answer(json.loads(line))), flush=True)


main()
