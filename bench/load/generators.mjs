// Load generators that ask the same requests of a server: `kvcapsule bench serve`, `vllm bench serve` and guidellm, each
// with as many callers. What each says, in ms and tokens a second, under the same names and by the same definitions.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseLoadResult, measuredOf } from '@kvcapsule/load/results';
import { textOf } from '@kvcapsule/load/workload';

const CLI = resolve(import.meta.dirname, '../../apps/cli/dist/main.js');
const PROMPT_WORDS = 40;
const PROMPT_SEED = 7;
const OUTPUT_BYTES = 1 << 28;
const run = promisify(execFile);
const OFFLINE = { ...process.env, HF_HUB_OFFLINE: '1', DO_NOT_TRACK: '1', TOKENIZERS_PARALLELISM: 'false' };

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The prompts of a load as ShareGPT's JSON, which two of them read, and as lines for guidellm. */
export function writePrompts(folder, requests, outputTokens) {
  const prompts = Array.from({ length: requests }, (_, at) => textOf(PROMPT_SEED, at, PROMPT_WORDS));
  const talks = prompts.map((value, at) => ({
    id: String(at),
    conversations: [
      { from: 'human', value },
      { from: 'gpt', value },
    ],
  }));
  writeFileSync(join(folder, 'prompts.json'), JSON.stringify(talks));
  const lines = prompts.map((prompt) => JSON.stringify({ prompt, output_tokens_count: outputTokens }));
  writeFileSync(join(folder, 'prompts.jsonl'), `${lines.join('\n')}\n`);
}

function checkCount(name, answered, { requests }) {
  if (answered !== requests) throw new Error(`${name}: ${answered} of ${requests} answered`);
}

async function byOurs(load) {
  const { url, model, folder, atOnce, requests, outputTokens } = load;
  const out = join(folder, 'ours.json');
  const target = ['--url', url, '--model', model, '--conversations', join(folder, 'prompts.json')];
  const shape = ['--concurrency', atOnce, '--requests', requests, '--output-tokens', outputTokens].map(
    String,
  );
  const more = ['--ignore-eos', '--warm-up', '0s', '--lag-limit', '1h', '--out', out];
  await run(process.execPath, [CLI, 'bench', 'serve', ...target, ...shape, ...more]);
  const result = parseLoadResult('ours', readFileSync(out, 'utf8'));
  const { latency, fromSend, perSecond, counts } = result.summary;
  checkCount('ours', counts.ok, load);
  const { records } = measuredOf(result);
  return {
    ttft: fromSend.ttft.p50,
    tpot: latency.tpot.p50,
    itl: latency.itl.mean,
    e2e: fromSend.e2e.p50,
    tokensPerSecond: perSecond.outputTokens,
    // the role and the reason of the end come in chunks of their own, with the first text and with the last
    itlOfAllChunks: mean(records.map(({ firstMs, lastMs, parts }) => (lastMs - firstMs) / (parts + 1))),
  };
}

/**
 * vLLM takes a chunk without text for a piece of the answer: its time to first token ends, and its gaps begin, with that
 * of the role. Its times between pieces are given without the first gap and the last of each answer, too.
 */
async function byVllm(venv, load) {
  const { url, model, modelDir, folder, atOnce, requests, outputTokens } = load;
  const target = ['--backend', 'openai-chat', '--base-url', url, '--endpoint', '/v1/chat/completions'];
  const names = [
    '--model',
    model,
    '--tokenizer',
    modelDir,
    '--dataset-name',
    'sharegpt',
    '--disable-shuffle',
  ];
  const data = [
    '--dataset-path',
    join(folder, 'prompts.json'),
    '--sharegpt-output-len',
    String(outputTokens),
  ];
  const shape = ['--num-prompts', String(requests), '--max-concurrency', String(atOnce), '--ignore-eos'];
  const told = ['--percentile-metrics', 'ttft,tpot,itl,e2el', '--save-result', '--save-detailed'];
  const out = ['--result-dir', folder, '--result-filename', 'vllm.json'];
  const args = ['bench', 'serve', ...target, ...names, ...data, ...shape, ...told, ...out];
  await run(join(venv, 'bin/vllm'), args, { env: OFFLINE, maxBuffer: OUTPUT_BYTES });
  const result = JSON.parse(readFileSync(join(folder, 'vllm.json'), 'utf8'));
  checkCount('vllm', result.completed, load);
  return {
    ttft: result.median_ttft_ms,
    tpot: result.median_tpot_ms,
    itl: 1_000 * mean(result.itls.flatMap((gaps) => gaps.slice(1, -1))),
    e2e: result.median_e2el_ms,
    tokensPerSecond: result.output_throughput,
    itlOfAllChunks: result.mean_itl_ms,
  };
}

/** guidellm's time to first token begins when a request's head is written; its ITL is the time a token of an answer. */
async function byGuidellm(venv, load) {
  const { url, model, modelDir, folder, atOnce, requests } = load;
  const out = join(folder, 'guidellm.json');
  const target = ['--backend', `kind=openai_http,target=${url},model=${model},validate_backend=false`];
  const shape = ['--profile', `kind=concurrent,streams=${atOnce}`];
  const end = ['--constraint', `kind=max_requests,count=${requests}`];
  const data = ['--data', `kind=json_file,path=${join(folder, 'prompts.jsonl')}`];
  const tokenizer = ['--tokenizer', `kind=hf_auto,model=${modelDir}`];
  const told = ['--output', `kind=json,path=${out}`, '--disable-console'];
  const args = ['run', ...target, ...shape, ...end, ...data, ...tokenizer, ...told];
  await run(join(venv, 'bin/guidellm'), args, { env: OFFLINE, maxBuffer: OUTPUT_BYTES });
  const [{ metrics, requests: asked }] = JSON.parse(readFileSync(out, 'utf8')).benchmarks;
  checkCount('guidellm', asked.successful.length, load);
  return {
    ttft: metrics.time_to_first_token_ms.successful.median,
    tpot: metrics.inter_token_latency_ms.successful.median,
    e2e: 1_000 * metrics.request_latency.successful.median,
    tokensPerSecond: metrics.output_tokens_per_second.successful.mean,
  };
}

/** By name; those whose environment is not given are left out. */
export function generatorsOf({ vllm, guidellm }) {
  return {
    ours: byOurs,
    ...(vllm && { vllm: (load) => byVllm(vllm, load) }),
    ...(guidellm && { guidellm: (load) => byGuidellm(guidellm, load) }),
  };
}
