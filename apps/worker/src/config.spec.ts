import { parseConfig, VARIABLES, variablesOf } from '@kvcapsule/platform/config';
import { describe, expect, it } from 'vitest';

import { defaultWorkerId, workerConfigSchema } from './config.js';

const parse = (...argv: string[]) =>
  parseConfig({
    schema: workerConfigSchema,
    argv: ['--redis', 'redis://127.0.0.1:1', '--model', 'm', ...argv],
    env: {},
    name: 'worker',
  });

it('has a list of variables that names all of its settings', () => {
  const listed = VARIABLES.worker.map((name) => `KVCAPSULE_${name}`);
  expect([...variablesOf(workerConfigSchema), 'KVCAPSULE_CONFIG'].sort()).toEqual(listed.sort());
});

describe('the address that routers are told', () => {
  it.each(['0.0.0.0:7000', '[::]:7000', ':::7000'])('may not be %s', (listen) => {
    expect(() => parse('--listen', listen)).toThrow(/listen.*--advertise HOST:PORT/);
    expect(() => parse('--advertise', listen)).toThrow(/advertise/);
    expect(parse('--listen', listen, '--advertise', 'node-1:7000').advertise).toBe('node-1:7000');
  });

  it.each(['h:0', 'h:65536', 'h', 'http://h:7000', 'h/x:7000', 'a b:7000', '256.0.0.1:7000', '[h]:7000', ''])(
    'is a host and a port, which %j is not',
    (address) => {
      expect(() => parse('--advertise', address)).toThrow(/--advertise: not HOST:PORT/);
      const known = '--advertise=host-1:7000';
      if (address === 'h:0') expect(parse('--listen', address, known).listen).toBe(address);
      else expect(() => parse('--listen', address, known)).toThrow(/--listen: not HOST:PORT/);
    },
  );

  it.each(['worker-1.pods:7000', 'a_b:1', '10.0.0.1:65535', '[fd00::1]:7000', 'fd00::1:7000'])(
    'may be %s',
    (address) => {
      expect(parse('--advertise', address).advertise).toBe(address);
    },
  );

  it('is the one that is listened on where that is one', () => {
    expect(parse().listen).toBe('127.0.0.1:0');
    expect(parse('--listen', '10.0.0.1:0').advertise).toBeUndefined();
  });
});

it('takes the names of instruction sets, and says them', () => {
  expect(parse().maxCpuIsa).toBeUndefined();
  expect(parse('--max-cpu-isa', 'avx2').maxCpuIsa).toBe('avx2');
  expect(() => parse('--max-cpu-isa', 'avx')).toThrow(/--max-cpu-isa.*sse4.*avx2.*avx512.*amx/);
});

it('lets requests go on for no longer than a timer can wait', () => {
  expect(parse('--drain-timeout-ms', '2147483647').drainTimeoutMs).toBe(2_147_483_647);
  expect(() => parse('--drain-timeout-ms', '2147483648')).toThrow(
    /^--drain-timeout-ms: at most 2147483647 ms/,
  );
});

describe('the id of a worker that was given none', () => {
  it.each(['host', 'a.b.example', 'ü host', 'h'.repeat(253), ''])(
    'on host %j can be given as one',
    (host) => {
      const id = defaultWorkerId(host);
      expect(parse('--id', id).id).toBe(id);
    },
  );

  it('is another one each time', () => {
    expect(defaultWorkerId('host')).not.toBe(defaultWorkerId('host'));
    expect(defaultWorkerId('node-1', Uint8Array.of(0, 1, 2, 3, 4, 255))).toBe('node-1-0001020304ff');
  });
});
