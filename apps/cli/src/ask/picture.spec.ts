import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { SAMPLES_DIR } from '../paths.js';
import { pictureDataUri, pictureMime } from './picture.js';

describe('pictureDataUri', () => {
  const dir = mkdtempSync(join(tmpdir(), 'kvc-ask-'));
  afterAll(() => {
    rmSync(dir, { recursive: true });
  });

  it('encodes a sample', async () => {
    expect(await pictureDataUri(join(SAMPLES_DIR, 'bird-microscope.png'))).toMatch(
      /^data:image\/png;base64,iVBOR/,
    );
  });

  it('says what is wrong with a path', async () => {
    const text = join(dir, 'notes.png');
    writeFileSync(text, 'hello');
    await expect(pictureDataUri(join(dir, 'none.png'))).rejects.toThrow('There is no file');
    await expect(pictureDataUri(dir)).rejects.toThrow('is a folder');
    await expect(pictureDataUri(text)).rejects.toThrow('not a picture');
  });

  it('does not wait for a pipe, nor read without an end', async () => {
    const pipe = join(dir, 'pipe.png');
    execFileSync('mkfifo', [pipe]);
    await expect(pictureDataUri(pipe)).rejects.toThrow('is no regular file');
    await expect(pictureDataUri('/dev/zero')).rejects.toThrow('is no regular file');
    const huge = join(dir, 'huge.png');
    writeFileSync(huge, '');
    truncateSync(huge, 5 * 2 ** 30);
    await expect(pictureDataUri(huge)).rejects.toThrow('is larger than a server takes');
  });

  it.each([
    ['image/jpeg', Buffer.from([0xff, 0xd8, 0xff, 0xe0])],
    ['image/gif', Buffer.from('GIF89a')],
    ['image/webp', Buffer.from('RIFF\0\0\0\0WEBPVP8 ', 'latin1')],
    [undefined, Buffer.from('RIFF\0\0\0\0WAVE', 'latin1')],
    [undefined, Buffer.alloc(0)],
  ])('recognises %s by its first bytes', (mime, bytes) => {
    expect(pictureMime(bytes)).toBe(mime);
  });
});
