import { expect, it } from 'vitest';
import { reasonText } from './reasons.js';

it('says in words why a worker was chosen, and names a reason that it does not know', () => {
  expect(reasonText('only')).toBe('it was the only worker that could take it.');
  expect(reasonText('weather')).toBe('decided by weather.');
});
