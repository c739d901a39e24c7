import {
  cacheDomain,
  nameFile,
  type PictureContent,
  rootName,
  pictureName,
  textName,
} from '@kvcapsule/domain/identity';
import { type OwnerNumber, OwnersIndex } from '@kvcapsule/domain/owners';
import { ComingContent, contentKey, storageClass, type WorkerView } from '@kvcapsule/domain/placement';
import { beforeEach, expect, it } from 'vitest';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { workerRecord } from '../testing/memory-ports.js';
import { HeldPrompt } from './held-prompt.js';
import { bytesOf } from './prompt-names.js';

const DOMAIN = cacheDomain('t', 's');
const ROOT = { modelRevision: 'r', arithmetic: 'a', precision: 'f', imageProcessor: 'p', domain: DOMAIN };
const RECORD = { ...ROOT, codec: 'raw' };
const range = (count: number, from: number) => Array.from({ length: count }, (_, at) => from + at);

const [first, second] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)].map((hash) =>
  Buffer.from(hash),
);
const SPAN = { length: 4, markerRows: [], encoded: Buffer.alloc(0), param: '' };
/** 20 tokens of text, a picture, 16 of text, a picture, 20 of text: six blocks or pictures and four tokens. */
const PROMPT: PreparedPrompt = {
  tokenIds: range(64, 0),
  pictures: [
    { ...SPAN, sha256: first!, offset: 20 },
    { ...SPAN, sha256: second!, offset: 40 },
  ],
};

/** As a worker names them. */
function namesOf(root: Parameters<typeof rootName>[0]) {
  const { tokenIds } = PROMPT;
  const shown = (sha256: Uint8Array): PictureContent => ({
    contentSha256: sha256,
    codec: 'raw',
    profileId: '',
  });
  const names = [textName(rootName(root), tokenIds.slice(0, 16))];
  names.push(textName(names[0]!, tokenIds.slice(16, 20)));
  names.push(pictureName(names[1]!, shown(first!), tokenIds.slice(20, 24)));
  names.push(textName(names[2]!, tokenIds.slice(24, 40)));
  names.push(pictureName(names[3]!, shown(second!), tokenIds.slice(40, 44)));
  names.push(textName(names[4]!, tokenIds.slice(44, 60)));
  return names;
}

let index: OwnersIndex;
let coming: ComingContent;
let numbers: Map<string, OwnerNumber>;
let held: HeldPrompt;

function worker(workerId: string, changes: Parameters<typeof workerRecord>[2] = {}): WorkerView {
  const record = workerRecord(workerId, 'a:1', { ...RECORD, ...changes });
  return { record, storageClass: storageClass(record) } as WorkerView;
}

function store(workerId: string, names: readonly string[]): void {
  for (const name of names) index.stored(numbers.get(workerId)!, bytesOf(name));
}

beforeEach(() => {
  index = new OwnersIndex({ maxNames: 10_000 });
  coming = new ComingContent();
  numbers = new Map(['w0', 'w1', 'w2'].map((workerId) => [workerId, index.join()!]));
  const owners = { index, coming, numberOf: (workerId: string) => numbers.get(workerId) };
  held = new HeldPrompt(owners, { prompt: PROMPT, kvCodec: undefined, domain: DOMAIN });
});

it('is what lies there from the beginning on, and features of the pictures after that', () => {
  const names = namesOf(ROOT);
  store('w0', names.slice(0, 4));
  store('w0', [nameFile(first!, DOMAIN), nameFile(second!, DOMAIN)]);
  store('w1', [...names.slice(1), nameFile(first!, DOMAIN)]);
  const whole = { promptTokens: 64, pictures: 2 };
  expect(held.look()(worker('w0'))).toEqual({ ...whole, prefixTokens: 40, picturesHeld: 1, featuresHeld: 1 });
  expect(held.look()(worker('w1'))).toEqual({ ...whole, prefixTokens: 0, picturesHeld: 0, featuresHeld: 1 });
  expect(held.look()(worker('w2'))).toEqual({ ...whole, prefixTokens: 0, picturesHeld: 0, featuresHeld: 0 });
});

it('is named by what each worker computes with', () => {
  store('w0', namesOf(ROOT));
  store('w1', namesOf({ ...ROOT, arithmetic: 'b' }));
  const tokens = (view: WorkerView) => held.look()(view)?.prefixTokens;
  expect([worker('w0'), worker('w1'), worker('w1', { arithmetic: 'b' })].map(tokens)).toEqual([60, 0, 60]);
  for (const changes of [
    { precision: 'q' },
    { imageProcessor: 'q' },
    { modelRevision: 'q' },
    { blockTokens: 8 },
  ]) {
    expect(tokens(worker('w0', changes))).toBe(0);
  }
});

it('is not known of a worker that has told nothing, nor while nobody has', () => {
  expect(held.look()(worker('w0'))).toBeUndefined();
  store('w0', namesOf(ROOT));
  expect([held.look()(worker('w3')), held.look()(worker('w0'))?.prefixTokens]).toEqual([undefined, 60]);
});

it('is about to be where a router has sent the pictures, whether or not anybody has told of anything', () => {
  const ended = held.send(worker('w0'));
  const nothing = { promptTokens: 64, pictures: 2, prefixTokens: 0, picturesHeld: 0, featuresHeld: 0 };
  const there = () => ['w0', 'w1'].map((id) => held.look()(worker(id)));
  expect(there()).toEqual([{ ...nothing, prefixComing: 44, picturesComing: 2 }, undefined]);
  store('w0', [nameFile(second!, DOMAIN)]);
  const told = { ...nothing, featuresHeld: 1, prefixComing: 44, picturesComing: 1 };
  expect(there()).toEqual([told, nothing]);
  ended(false);
  expect(there()).toEqual([{ ...nothing, featuresHeld: 1 }, nothing]);
});

it('is about to be where a worker says so: up to the last picture whose span is coming there', () => {
  const names = namesOf(ROOT);
  const [w0, w1] = [coming.toldBy('w0'), coming.toldBy('w1')];
  const key = (name: string) => contentKey(bytesOf(name));
  const [a, b] = [nameFile(first!, DOMAIN), nameFile(second!, DOMAIN)].map(key);
  const there = () =>
    ['w0', 'w1'].map((id) => {
      const { prefixComing, picturesComing } = held.look()(worker(id)) ?? {};
      return [prefixComing, picturesComing];
    });
  for (const name of [a!, key(names[2]!), b!, key(names[4]!)]) w0.coming(name);
  // another prompt with the second picture
  w1.coming(b!);
  expect(there()).toEqual([
    [44, 2],
    [0, 1],
  ]);
  w0.settled(key(names[4]!));
  w1.settled(b!);
  expect(there()).toEqual([
    [24, 2],
    [undefined, undefined],
  ]);
  const other = worker('w0', { arithmetic: 'b' });
  expect(held.look()(other)).toMatchObject({ prefixComing: 0, picturesComing: 2 });
});

it('is another tenant’s, or another salt’s, in no case', () => {
  store('w0', [...namesOf(ROOT), nameFile(first!, DOMAIN)]);
  held.send(worker('w0'));
  const owners = { index, coming, numberOf: (workerId: string) => numbers.get(workerId) };
  for (const domain of [cacheDomain('t', ''), cacheDomain('u', 's')]) {
    const other = new HeldPrompt(owners, { prompt: PROMPT, kvCodec: undefined, domain });
    expect(other.look()(worker('w0'))).toEqual({
      ...{ promptTokens: 64, pictures: 2 },
      ...{ prefixTokens: 0, picturesHeld: 0, featuresHeld: 0 },
    });
  }
});
