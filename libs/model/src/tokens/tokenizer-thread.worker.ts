import { parentPort, workerData } from 'node:worker_threads';
import * as library from '@huggingface/tokenizers';
import type { TokenizersLibrary } from './tokenizers-library.js';

const { Tokenizer } = library as unknown as TokenizersLibrary;

// Imports packages and types only: under the test runner this file is run by Node itself, straight from its source.

interface Job {
  readonly job: number;
  readonly texts: readonly string[];
}

const tokenizer = new Tokenizer(workerData as object, {});

parentPort?.on('message', ({ job, texts }: Job) => {
  try {
    const ids = texts.map((text) => tokenizer.encode(text, { add_special_tokens: false }).ids);
    parentPort?.postMessage({ job, ids });
  } catch {
    parentPort?.postMessage({ job, failed: true });
  }
});
