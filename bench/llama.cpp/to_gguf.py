"""Writes a folder of make_geometry.py as the two GGUF files of llama.cpp's server: model.gguf (text), mmproj.gguf (tower).
Usage: python to_gguf.py LLAMA_CPP MODEL_DIR OUT_DIR [bf16|f16]
LLAMA_CPP is llama.cpp's source, whose converter is run; needs torch and transformers. The converter is told what the
folder does not say in its terms: that the text model is a Llama, and that of the ways to split a text before BPE that
llama.cpp knows, SmolLM's is nearest to the demo tokenizer's (prompts can differ by some tokens). Its code for pictures
sends a blank line as one token and refuses a vocabulary without it, so one of the words that no text gives is it.
Weights are bf16 as they are stored; without AVX-512 llama.cpp multiplies f16 several times as fast.
"""
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path

BLANK_LINE = "\u010a\u010a"  # two line feeds as byte-level BPE spells them


def lay_out(model, folder):
    """The folder's files, its text model's architecture named as published models name it, a blank line in its words."""
    for file in model.iterdir():
        if file.is_file() and file.name not in ("config.json", "tokenizer.json"):
            os.symlink(file.resolve(), folder / file.name)
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["architectures"] = ["VLlama3ForCausalLM"]
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    # not the last: transformers gives its id to a token that the file adds
    word = f"Word{max(words.values()) - 1}"
    if word not in words:
        raise SystemExit("to_gguf.py takes the folders that make_geometry.py writes")
    words[BLANK_LINE] = words.pop(word)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def convert(script, arguments):
    sys.argv = [str(script), *map(str, arguments)]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def main():
    source, model, out = (Path(argument) for argument in sys.argv[1:4])
    weights = sys.argv[4] if len(sys.argv) > 4 else "bf16"
    sys.path[:0] = [str(source), str(source / "gguf-py")]
    from conversion import base
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "smollm"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        lay_out(model, Path(name))
        for file, more in (("model.gguf", []), ("mmproj.gguf", ["--mmproj"])):
            convert(source / "convert_hf_to_gguf.py", [name, "--outtype", weights, "--outfile", out / file, *more])


if __name__ == "__main__":
    main()
