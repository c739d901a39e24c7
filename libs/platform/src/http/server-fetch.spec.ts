import { describe, expect, it } from 'vitest';
import { isLocal, serverRoot } from './index.js';

describe('serverRoot', () => {
  it.each([
    'http://127.0.0.1:9000',
    'http://127.0.0.1:9000/',
    'http://127.0.0.1:9000/v1',
    'http://127.0.0.1:9000/v1/',
  ])('takes %s', (url) => {
    expect(serverRoot(url)).toBe('http://127.0.0.1:9000');
  });

  it.each(['127.0.0.1:9000', 'ftp://a', ''])('refuses %j with an example', (url) => {
    expect(() => serverRoot(url)).toThrow('is not an http(s) URL, such as');
  });
});

describe('isLocal', () => {
  it.each([
    ['http://127.0.0.1:8000', true],
    ['http://127.9.9.9/v1', true],
    ['http://localhost:1', true],
    ['http://[::1]:8000', true],
    ['http://0.0.0.0:8000', true],
    ['http://10.0.0.1:8000', false],
    ['http://localhost.example.org', false],
    ['http://127.0.0.1.example.org', false],
    ['https://inference.example.org/v1', false],
  ])('%s: %s', (url, local) => {
    expect(isLocal(url)).toBe(local);
  });
});
