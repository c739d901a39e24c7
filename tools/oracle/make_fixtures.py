"""Writes native/test/fixtures: small Idefics3 and SmolVLM folders with random weights, and what transformers
computes from them in single precision. Usage: python make_fixtures.py OUT_DIR [NAME...]
Needs torch, transformers (5.x) and Pillow 13. Each folder differs in what the engine could get wrong: pixel
shuffle factor, grid of tiles, head counts, tied head, biases, position buckets, old spellings of the config.
"""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

IMAGE_TOKEN, VOCAB = 5, 96
ANSWER_TOKENS = 6
# two best tokens closer than this would let a rounding error flip the answer
SMALLEST_MARGIN = 0.01

FIXTURES = {
    "shuffle-1-plain": dict(scale=1, tile=32, longest=64, picture=(50, 50), heads=2, kv_heads=2, head_dim=16, tied=True),
    "shuffle-2-gqa": dict(scale=2, tile=64, longest=192, picture=(120, 70), heads=6, kv_heads=2, head_dim=16, tied=True),
    "shuffle-3-mha-untied": dict(scale=3, tile=48, longest=96, picture=(30, 64), heads=3, kv_heads=3, head_dim=16,
                                 tied=False, bias=True),
    "shuffle-4-smolvlm": dict(scale=4, tile=64, longest=128, picture=(200, 160), heads=4, kv_heads=1, head_dim=16,
                              tied=False, smolvlm=True, old_style=True, shards=True),
    "unsplit-buckets": dict(scale=2, tile=32, longest=96, picture=(90, 40), heads=4, kv_heads=2, head_dim=32, tied=True,
                            image_size=56, split=False, resample=3),
    # SmolVLM2-2.2B has tiles of 384 pixels and patches of 14: the last pixels are in no patch
    "uneven-tile": dict(scale=3, tile=52, longest=104, picture=(70, 100), heads=4, kv_heads=4, head_dim=16, tied=False,
                        smolvlm=True),
}


def make_config(f):
    text = dict(model_type="llama", vocab_size=VOCAB, hidden_size=f["heads"] * 16, intermediate_size=80, num_hidden_layers=2,
                num_attention_heads=f["heads"], num_key_value_heads=f["kv_heads"], head_dim=f["head_dim"],
                max_position_embeddings=1024, rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
                attention_bias=f.get("bias", False), mlp_bias=f.get("bias", False), tie_word_embeddings=f["tied"],
                pad_token_id=0, bos_token_id=1, eos_token_id=2)
    vision = dict(hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2,
                  image_size=f.get("image_size", f["tile"]), patch_size=8)
    kind = SmolVLMConfig if f.get("smolvlm") else Idefics3Config
    return kind(text_config=text, vision_config=vision, scale_factor=f["scale"], image_token_id=IMAGE_TOKEN,
                tie_word_embeddings=f["tied"])


def save_model(f, folder, seed):
    torch.manual_seed(seed)
    kind = SmolVLMForConditionalGeneration if f.get("smolvlm") else Idefics3ForConditionalGeneration
    model = kind(make_config(f))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if norm else 0.0))
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="40KB" if f.get("shards") else "5GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    if f.get("old_style"):
        config = json.loads((folder / "config.json").read_text())
        text = config["text_config"]
        text["rope_theta"] = text.pop("rope_parameters")["rope_theta"]
        text["rope_scaling"] = None
        for key in ("head_dim", "attention_bias", "mlp_bias", "rms_norm_eps", "hidden_act"):
            text.pop(key, None)
        text["rms_norm_eps"] = 1e-5
        for key in ("num_channels", "layer_norm_eps", "hidden_act"):
            config["vision_config"].pop(key, None)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return kind


def save_preprocessor(f, folder):
    settings = dict(do_convert_rgb=True, do_image_splitting=f.get("split", True), do_normalize=True, do_pad=True,
                    do_rescale=True, do_resize=True, image_mean=[0.48, 0.5, 0.52], image_std=[0.5, 0.45, 0.55],
                    max_image_size={"longest_edge": f["tile"]}, resample=f.get("resample", 1), rescale_factor=1 / 255,
                    size={"longest_edge": f["longest"]})
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**settings, "image_processor_type": "Idefics3ImageProcessor"}, indent=1) + "\n")
    return Idefics3ImageProcessorPil(**settings)


def save_picture(f, folder, seed):
    width, height = f["picture"]
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(folder / "picture.png")
    return picture


def run(model, pixels, ids):
    """Greedy answer, the logits at the prompt's end and the smallest margin between the two best tokens."""
    prompt, answer, margins, first = list(ids), [], [], None
    for _ in range(ANSWER_TOKENS):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer]), pixel_values=pixels).logits[0, -1]
        first = logits if first is None else first
        best = torch.topk(logits, 2).values
        margins.append(float(best[0] - best[1]))
        answer.append(int(logits.argmax()))
    return answer, first, min(margins)


def make_fixture(name, f, out):
    folder = out / name
    for seed in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kind = save_model(f, folder, seed)
        processor = save_preprocessor(f, folder)
        picture = save_picture(f, folder, seed)
        model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        pixels = torch.from_numpy(np.asarray(processor.preprocess([[picture]], return_tensors="np")["pixel_values"]))
        tokens = (f["tile"] // 8 // f["scale"]) ** 2 * pixels.shape[1]
        rng = np.random.default_rng(seed)
        words = [int(t) for t in rng.integers(6, VOCAB, 12)]
        ids = [1, *words[:5], *[IMAGE_TOKEN] * tokens, *words[5:]]
        answer, logits, margin = run(model, pixels, ids)
        # an image token among the answer has no picture to stand for
        if margin >= SMALLEST_MARGIN and IMAGE_TOKEN not in answer:
            break
    else:
        raise SystemExit(f"{name}: no seed gives answers that are clear enough")
    case = dict(name=name, pictures=["picture.png"], input_ids=ids, answer_ids=answer,
                logits_at_prompt_end=[round(float(x), 6) for x in logits], smallest_margin=round(margin, 4))
    (folder / "golden.json").write_text(json.dumps({"cases": [case]}) + "\n")
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{name}: seed {seed}, {tokens} image tokens, margin {margin:.3f}, {size} bytes")


def lcg_picture(width, height):
    """Noise that the C++ test makes alike."""
    state, values = 12345, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        values.append(state >> 24)
    return Image.frombytes("RGB", (width, height), bytes(values))


def fnv1a(data):
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def make_resizes(out):
    """[width, height, new width, new height, filter, FNV-1a of Pillow's pixels] each."""
    rng = np.random.default_rng(7)
    sizes = [tuple(int(v) for v in rng.integers(1, 70, 4)) for _ in range(120)]
    sizes += [(128, 256, 64, 64), (256, 128, 64, 64), (5, 200, 5, 20), (7, 7, 7, 7), (1, 1, 9, 4), (60, 3, 2, 90)]
    rows = []
    for i, (width, height, new_width, new_height) in enumerate(sizes):
        resample = i % 3 + 1
        pixels = lcg_picture(width, height).resize((new_width, new_height), resample).tobytes()
        rows.append([width, height, new_width, new_height, resample, fnv1a(pixels)])
    (out / "resize.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def main():
    out, only = Path(sys.argv[1]), sys.argv[2:]
    if not only:
        make_resizes(out)
    for name in only or FIXTURES:
        make_fixture(name, FIXTURES[name], out)


if __name__ == "__main__":
    main()
