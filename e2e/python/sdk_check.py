"""OpenAI's Python SDK, unmodified, against a running server: chat with a picture, streamed and not, with
log-probabilities, penalties and this server's extensions.

Usage: python sdk_check.py BASE_URL MODEL_DIR. Prints one JSON line with what it saw.
"""

import base64
import json
import math
import pathlib
import sys

import openai


def main() -> None:
    base_url, model_dir = sys.argv[1], pathlib.Path(sys.argv[2])
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    golden = {case["name"]: case for case in json.loads((model_dir / "golden.json").read_text())["cases"]}
    case = golden["describe"]
    data = base64.b64encode((model_dir / case["pictures"][0]).read_bytes()).decode()
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                {"type": "text", "text": "Describe the image."},
            ],
        }
    ]
    plain = client.chat.completions.create(model="emoji-vlm", messages=messages, temperature=0)
    streamed, usage = "", None
    stream = client.chat.completions.create(
        model="emoji-vlm", messages=messages, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        if chunk.choices:
            streamed += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    scored = client.chat.completions.create(
        model="emoji-vlm",
        messages=messages,
        temperature=0,
        logprobs=True,
        top_logprobs=20,
        presence_penalty=0.0,
        logit_bias={"300": -100},
        extra_body={"kv_codec": "raw", "min_p": 0.1, "repetition_penalty": 1.0},
    )
    tokens = scored.choices[0].logprobs.content
    try:
        client.chat.completions.create(model="nobody", messages=messages)
        refused = None
    except openai.NotFoundError as error:
        refused = error.code
    print(
        json.dumps(
            {
                "expected": case["answer"],
                "plain": plain.choices[0].message.content,
                "streamed": streamed,
                "completion_tokens": [plain.usage.completion_tokens, usage.completion_tokens],
                "scored": scored.choices[0].message.content,
                "tokens": "".join(token.token for token in tokens),
                "bytes": bytes(byte for token in tokens for byte in token.bytes).decode(),
                "finite": all(
                    math.isfinite(top.logprob) for token in tokens for top in [token, *token.top_logprobs]
                ),
                "tops": sorted({len(token.top_logprobs) for token in tokens}),
                "codec": scored.usage.model_extra["kv_cache"]["codec"],
                "refused": refused,
            }
        )
    )


main()
