// Asks a router what its users ask: whether it is ready, its models, and a completion of each. The first thing that is
// wrong ends it with 1. ROUTER_URL, API_KEY (where keys are asked for) and COMPLETION (`true`) stand in the environment.
const { ROUTER_URL, API_KEY, COMPLETION } = process.env;
const key = (API_KEY ?? '').split(',')[0].trim();
const headers = { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) };

async function ask(path, body) {
  const request = body ? { method: 'POST', body: JSON.stringify(body) } : {};
  const answer = await fetch(new URL(path, ROUTER_URL), { ...request, headers, signal: AbortSignal.timeout(120_000) });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${text.slice(0, 500)}`);
  console.log(`${path}: 200`);
  return JSON.parse(text);
}

async function complete(model) {
  const messages = [{ role: 'user', content: 'Hello' }];
  const answer = await ask('/v1/chat/completions', { model, messages, max_tokens: 4, temperature: 0 });
  if (answer.choices?.[0]?.message === undefined) throw new Error(`${model}: an answer without a message`);
  console.log(`${model}: ${answer.usage?.completion_tokens} tokens`);
}

try {
  const ready = await ask('/health/ready');
  for (const reason of ready.reasons) console.log(`${ready.status}: ${reason}`);
  const { data } = await ask('/v1/models');
  if (data.length === 0) throw new Error('/v1/models: no model');
  if (COMPLETION === 'true') for (const { id } of data) await complete(id);
} catch (error) {
  console.error(`FAILED: ${error.message}`);
  process.exitCode = 1;
}
