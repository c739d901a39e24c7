import { readFileSync } from 'node:fs';
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import type { PromptBuilderData, PromptJob } from './prompt-threads.js';

// Under the test runner Node itself runs this file from its source, and what it imports is source, too.
if (import.meta.url.endsWith('.ts'))
  registerHooks({
    resolve(specifier, context, next) {
      const isOurs = specifier.startsWith('.') && context.parentURL?.endsWith('.ts') === true;
      const conditions = ['@kvcapsule/source', ...context.conditions];
      return next(isOurs ? specifier.replace(/\.js$/, '.ts') : specifier, { ...context, conditions });
    },
    load(url, context, next) {
      if (!url.endsWith('.ts')) return next(url, context);
      const source = stripTypeScriptTypes(readFileSync(fileURLToPath(url), 'utf8'), { mode: 'transform' });
      return { format: 'module', source, shortCircuit: true };
    },
  });

const { PromptServer } = await import('./prompt-server.js');
const server = new PromptServer(workerData as PromptBuilderData);

parentPort?.on('message', (job: PromptJob) => {
  const { reply, transfer } = server.answer(job);
  parentPort?.postMessage(reply, transfer);
});
