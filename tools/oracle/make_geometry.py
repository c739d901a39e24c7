"""Writes a folder with random weights at the geometry of a published model, for benchmarks at real size.
Usage: python make_geometry.py (smolvlm-256m | smolvlm-500m | smolvlm2-2.2b) OUT_DIR [--seed 0]
Needs torch and transformers (5.x). Same seed, same bytes of weights with one version of torch. Sizes are those of the
config.json that each model is published with; tokenizer and template are the demo model's, its vocabulary filled up to
49,280 with words that no text gives. Answers mean nothing; they are greedy and the same on every server.
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import Idefics3Config, Idefics3ForConditionalGeneration

DEMO = Path(__file__).resolve().parents[2] / "deploy" / "models" / "emoji-vlm"
VOCAB = 49_280
SIGLIP_BASE = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=512,
                   patch_size=16)
SIGLIP_SO400M = dict(hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16,
                     image_size=384, patch_size=14)
GEOMETRIES = {
    "smolvlm-256m": dict(vision=SIGLIP_BASE, scale=4, longest=2048, hidden=576, intermediate=1536, layers=30, heads=9,
                         kv_heads=3),
    "smolvlm-500m": dict(vision=SIGLIP_BASE, scale=4, longest=2048, hidden=960, intermediate=2560, layers=32, heads=15,
                         kv_heads=5),
    "smolvlm2-2.2b": dict(vision=SIGLIP_SO400M, scale=3, longest=1536, hidden=2048, intermediate=8192, layers=24,
                          heads=32, kv_heads=32),
}


def make_config(g):
    demo = json.loads((DEMO / "config.json").read_text())
    text = dict(model_type="llama", vocab_size=VOCAB, hidden_size=g["hidden"], intermediate_size=g["intermediate"],
                num_hidden_layers=g["layers"], num_attention_heads=g["heads"], num_key_value_heads=g["kv_heads"], head_dim=64,
                max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1,
                eos_token_id=2, rope_parameters={"rope_type": "default", "rope_theta": 100000.0})
    return Idefics3Config(text_config=text, vision_config=g["vision"], scale_factor=g["scale"],
                          image_token_id=demo["image_token_id"], tie_word_embeddings=False, pad_token_id=0)


def fill_tokenizer(folder):
    tokenizer = json.loads((DEMO / "tokenizer.json").read_text())
    known = set(tokenizer["model"]["vocab"].values()) | {token["id"] for token in tokenizer["added_tokens"]}
    tokenizer["model"]["vocab"] |= {f"Word{i}": i for i in range(VOCAB) if i not in known}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n")


def set_tiles(folder, g):
    """The demo's picture settings with this geometry's tile, longest edge and tokens a tile."""
    tile = g["vision"]["image_size"]
    sizes = dict(max_image_size={"longest_edge": tile}, size={"longest_edge": g["longest"]})
    for name in ("preprocessor_config.json", "processor_config.json"):
        settings = json.loads((DEMO / name).read_text())
        settings.get("image_processor", settings).update(sizes)
        if "image_seq_len" in settings:
            settings["image_seq_len"] = (tile // g["vision"]["patch_size"] // g["scale"]) ** 2
        (folder / name).write_text(json.dumps(settings, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("geometry", choices=GEOMETRIES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    g = GEOMETRIES[arguments.geometry]
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    torch.set_default_dtype(torch.bfloat16)
    model = Idefics3ForConditionalGeneration(make_config(g))
    model.save_pretrained(arguments.out)
    (arguments.out / "generation_config.json").unlink(missing_ok=True)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        shutil.copy(DEMO / name, arguments.out)
    fill_tokenizer(arguments.out)
    set_tiles(arguments.out, g)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{arguments.out}: {parameters / 1e6:.0f} million parameters")


if __name__ == "__main__":
    main()
