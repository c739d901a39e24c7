// The whole service beside a real vLLM server: the same weights, two threads each, the same requests in turns. Each side
// is its usual processes (here router, worker and Redis; there API server and engine); CPU is that of the whole tree.
//
// Usage: node bench/vllm-serving.mjs (--vllm VENV | --baseline DIR) [--model DIR] [--rounds 5] [--scenes 24]
//          [--at-once 8] [--streams 16] [--stream-tokens 200] [--pool-mib 256] [--out FILE]
//   VENV is a Python environment that has vllm (on its CPU backend); DIR a checkout of ours that has
//   been built, its e2e folder too, whose service then stands in vLLM's place; scenes are drawn anew each round.
//   new, one at a time    a third of the scenes, which nobody has seen, one question each
//   new, 8 at once        the others, eight requests at once
//   known, 8 at once      the pictures of the round again, another question
//   16 text streams       of 200 tokens each; --streams takes a list, as 1,4,16
//   16 picture streams    the same about the round's pictures
// At real size (tools/oracle/make_geometry.py) a picture takes seconds: --scenes 5 --at-once 4 --streams 1,4,16.
// The side that begins changes with every round; a pause lets the other's threads stop spinning. Answers of the first
// three loads are compared.
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createServer } from 'node:net';
import { cpus, loadavg } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { generateScene } from '@kvcapsule/testing/scenes';
import { Cluster, MODEL_DIR, ROOT } from '../e2e/dist/harness.js';

const { values } = parseArgs({
  options: {
    vllm: { type: 'string' },
    baseline: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    scenes: { type: 'string', default: '24' },
    model: { type: 'string', default: MODEL_DIR },
    'at-once': { type: 'string', default: '8' },
    streams: { type: 'string', default: '16' },
    'stream-tokens': { type: 'string', default: '200' },
    'pool-mib': { type: 'string', default: '256' },
    out: { type: 'string' },
  },
});
if (!values.vllm === !values.baseline) throw new Error('--vllm VENV or --baseline DIR is needed');
/** Who is compared with. */
const RIVAL = values.vllm ? 'vllm' : 'baseline';
const ROUNDS = Number(values.rounds);
const SCENES = Number(values.scenes);
const MODEL = basename(values.model);
const THREADS = 2;
const AT_ONCE = Number(values['at-once']);
const STREAMS = values.streams.split(',').map(Number);
const STREAM_TOKENS = Number(values['stream-tokens']);
/** vLLM's threads spin on for a while after a request. */
const PAUSE_MS = 1_500;
const CLOCK_TICKS = Number(execFileSync('getconf', ['CLK_TCK']).toString());

// ---- the two servers ----

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((ready) => server.once('listening', ready));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

async function startVllm(venv) {
  const port = await freePort();
  const args = [
    ...['serve', values.model, '--served-model-name', MODEL, '--host', '127.0.0.1', '--port', String(port)],
    ...['--dtype', 'bfloat16', '--max-model-len', '8192', '--max-num-seqs', '32'],
    ...['--limit-mm-per-prompt', '{"image":8}'],
  ];
  const env = {
    ...process.env,
    ...{ PATH: `${venv}/bin:${process.env.PATH}`, HF_HUB_OFFLINE: '1', OMP_NUM_THREADS: String(THREADS) },
    ...{ VLLM_NO_USAGE_STATS: '1', DO_NOT_TRACK: '1', VLLM_CPU_KVCACHE_SPACE: '1' },
    VLLM_CPU_OMP_THREADS_BIND: 'nobind',
  };
  const child = spawn(join(venv, 'bin/vllm'), args, {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let log = '';
  child.stderr.on('data', (part) => (log = (log + part).slice(-4_000)));
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries += 1) {
    if (child.exitCode !== null || tries > 300) throw new Error(`vLLM did not start: ${log}`);
    const response = await fetch(`${url}/health`).catch(() => undefined);
    if (response?.status === 200) break;
    await sleep(1_000);
  }
  return { name: 'vllm', url, pids: [child.pid], stop: () => process.kill(-child.pid, 'SIGKILL') };
}

async function startOurs(name, Built) {
  const cluster = await Built.start({
    model: values.model,
    workerArgs: ['--pool-mib', values['pool-mib'], '--threads', String(THREADS)],
    routerArgs: ['--served-model-name', MODEL],
  });
  const pids = [cluster.router.process.pid, ...cluster.workers.map(({ process: part }) => part.pid)];
  return {
    name,
    url: cluster.url,
    pids: [...pids, cluster.redis.pid],
    stop: () => cluster.stop(),
  };
}

/** CPU seconds and resident bytes of processes and all their descendants. */
function usage(pids) {
  const table = new Map();
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const cpu = (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
      table.set(Number(entry), { parent: Number(fields[1]), cpu, rss: Number(fields[21]) * 4096 });
    } catch {
      // ended meanwhile
    }
  }
  const members = new Set(pids);
  for (let grown = true; grown;) {
    grown = false;
    for (const [pid, { parent }] of table) {
      if (members.has(pid) || !members.has(parent)) continue;
      members.add(pid);
      grown = true;
    }
  }
  const all = [...members].flatMap((pid) => table.get(pid) ?? []);
  const sum = (of) => all.reduce((total, each) => total + of(each), 0);
  return { cpu: sum(({ cpu }) => cpu), rss: sum(({ rss }) => rss) };
}

// ---- requests ----

const chat = (text, maxTokens, scene, more = {}) => ({
  ...{ model: MODEL, temperature: 0, max_tokens: maxTokens, stream: true, ...more },
  messages: [
    {
      role: 'user',
      content: [
        ...(scene
          ? [
              {
                type: 'image_url',
                image_url: { url: `data:image/png;base64,${scene.png.toString('base64')}` },
              },
            ]
          : []),
        { type: 'text', text },
      ],
    },
  ],
});

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

/** Streams one answer; times in ms. */
function ask(url, body) {
  const payload = Buffer.from(JSON.stringify(body));
  const began = performance.now();
  return new Promise((ok, fail) => {
    const headers = { 'content-type': 'application/json', 'content-length': payload.length };
    const request = http.request(
      `${url}/v1/chat/completions`,
      { method: 'POST', agent, headers },
      (response) => {
        let [rest, text, first, last] = ['', '', undefined, undefined];
        const gaps = [];
        response.setEncoding('utf8');
        response.on('data', (part) => {
          const lines = (rest + part).split('\n');
          rest = lines.pop();
          for (const line of lines) {
            if (!line.startsWith('data: {')) continue;
            const content = JSON.parse(line.slice(6)).choices?.[0]?.delta?.content;
            if (!content) continue;
            const now = performance.now();
            text += content;
            if (first === undefined) first = now - began;
            else gaps.push(now - last);
            last = now;
          }
        });
        response.on('end', () => {
          if (response.statusCode !== 200)
            return fail(new Error(`${url}: ${response.statusCode} ${rest.slice(0, 300)}`));
          return ok({
            text: text.trim(),
            first: first ?? performance.now() - began,
            gaps,
            whole: performance.now() - began,
          });
        });
      },
    );
    request.on('error', fail);
    request.end(payload);
  });
}

async function drive(url, bodies, atOnce) {
  const answers = [];
  let next = 0;
  const client = async () => {
    for (let at = next++; at < bodies.length; at = next++) answers[at] = await ask(url, bodies[at]);
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  return answers;
}

function loadsOf(scenes, round) {
  const third = Math.floor(scenes.length / 3);
  const question = (scene, index) => scene.questions[index].ask;
  const long = { ignore_eos: true, min_tokens: STREAM_TOKENS };
  const turns = (count) => Array.from({ length: count }, (_, index) => index);
  return [
    {
      name: 'new, one at a time',
      atOnce: 1,
      bodies: scenes.slice(0, third).map((scene) => chat(question(scene, 0), 32, scene)),
    },
    {
      name: `new, ${AT_ONCE} at once`,
      atOnce: AT_ONCE,
      bodies: scenes.slice(third).map((scene) => chat(question(scene, 0), 32, scene)),
    },
    {
      name: `known, ${AT_ONCE} at once`,
      atOnce: AT_ONCE,
      bodies: scenes.map((scene) => chat(question(scene, 1), 32, scene)),
    },
    ...STREAMS.map((count) => ({
      name: `${count} text streams`,
      atOnce: count,
      streams: true,
      bodies: turns(count).map((index) =>
        chat(`Describe the image. ${round} ${index}`, STREAM_TOKENS, undefined, long),
      ),
    })),
    ...STREAMS.map((count) => ({
      name: `${count} picture streams`,
      atOnce: count,
      streams: true,
      bodies: turns(count).map((index) =>
        chat('Describe the image.', STREAM_TOKENS, scenes[index % scenes.length], long),
      ),
    })),
  ];
}

// ---- numbers ----

const sorted = (list) => list.toSorted((a, b) => a - b);
const quantile = (list, q) => sorted(list)[Math.min(list.length - 1, Math.floor(q * list.length))];
const rounded = (value) => (value === undefined ? undefined : Number(value.toPrecision(3)));
const spread = (list) => ({
  median: rounded(quantile(list, 0.5)),
  least: rounded(sorted(list)[0]),
  most: rounded(sorted(list).at(-1)),
});

async function measure(side, { bodies, atOnce }) {
  await sleep(PAUSE_MS);
  const before = usage(side.pids).cpu;
  const began = performance.now();
  const answers = await drive(side.url, bodies, atOnce);
  const wall = performance.now() - began;
  const gaps = answers.flatMap((answer) => answer.gaps);
  return {
    ...{ wall, cpu: 1000 * (usage(side.pids).cpu - before) },
    ...{
      first50: quantile(
        answers.map(({ first }) => first),
        0.5,
      ),
      first99: quantile(
        answers.map(({ first }) => first),
        0.99,
      ),
    },
    gap99: quantile(gaps, 0.99),
    texts: answers.map(({ text }) => text),
  };
}

async function startRival() {
  if (values.vllm) return startVllm(values.vllm);
  const { Cluster: Other } = await import(resolve(values.baseline, 'e2e/dist/harness.js'));
  return startOurs('baseline', Other);
}

const sides = [await startOurs('kvcapsule', Cluster), await startRival()];
const results = {};
try {
  // the first round warms up and counts for nothing
  for (let round = 0; round <= ROUNDS; round += 1) {
    const scenes = await Promise.all(
      Array.from({ length: SCENES }, (_, index) => generateScene(1_000_000 + round * SCENES + index)),
    );
    for (const load of loadsOf(scenes, round)) {
      const measured = {};
      for (const side of round % 2 ? sides : sides.toReversed())
        measured[side.name] = await measure(side, load);
      if (round > 0) (results[load.name] ??= []).push({ ...measured, streams: load.streams ?? false });
    }
  }
  const rss = Object.fromEntries(
    sides.map(({ name, pids }) => [name, Math.round(usage(pids).rss / 2 ** 20)]),
  );
  const rows = Object.entries(results).map(([name, rounds]) => {
    const ratio = (key) => spread(rounds.map(({ kvcapsule, [RIVAL]: rival }) => rival[key] / kvcapsule[key]));
    const ms = (side, key) =>
      rounded(
        quantile(
          rounds.map((each) => each[side][key]),
          0.5,
        ),
      );
    const sidesMs = (key) => ({ kvcapsule: ms('kvcapsule', key), [RIVAL]: ms(RIVAL, key) });
    const same = rounds.flatMap(({ kvcapsule, [RIVAL]: rival }) =>
      kvcapsule.texts.map((text, index) => text === rival.texts[index]),
    );
    return {
      name,
      [`${RIVAL}_over_kvcapsule`]: { wall: ratio('wall'), cpu: ratio('cpu'), first_token: ratio('first50') },
      ms: {
        first_token_p50: sidesMs('first50'),
        first_token_p99: sidesMs('first99'),
        between_tokens_p99: sidesMs('gap99'),
      },
      ...(rounds[0].streams ? {} : { same_answers: `${same.filter(Boolean).length} of ${same.length}` }),
    };
  });
  const result = {
    command: `node bench/vllm-serving.mjs ${values.vllm ? '--vllm VENV' : '--baseline DIR'} --rounds ${ROUNDS} --scenes ${SCENES}${values.model === MODEL_DIR ? '' : ` --model ${MODEL}`} --at-once ${AT_ONCE} --streams ${values.streams} --stream-tokens ${STREAM_TOKENS}`,
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim(),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    load: loadavg().map(rounded),
    ...(values.vllm
      ? {
          vllm: execFileSync(join(values.vllm, 'bin/pip'), ['show', 'vllm'], { encoding: 'utf8' }).match(
            /Version: (\S+)/,
          )?.[1],
        }
      : {
          baseline: execFileSync('git', ['-C', values.baseline, 'rev-parse', '--short', 'HEAD'])
            .toString()
            .trim(),
        }),
    resident_mib: rss,
    rows,
  };
  console.log(JSON.stringify(result, undefined, 2));
  if (values.out) writeFileSync(values.out, `${JSON.stringify(result, undefined, 2)}\n`);
} finally {
  agent.destroy();
  for (const side of sides) await side.stop();
}
