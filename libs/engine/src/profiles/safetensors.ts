import { constants } from 'node:fs';
import { open, readFile, rename, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { z } from 'zod';

/** More than any profile's header; a damaged length must not make us allocate gigabytes. */
const MAX_HEADER_BYTES = 16 * 1024 * 1024;
const LENGTH_BYTES = 8;

const tensorSchema = z.object({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});
const headerSchema = z
  .object({ __metadata__: z.record(z.string(), z.string()).default({}) })
  .catchall(tensorSchema);

export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  /** First byte of the tensors' data in the file. */
  readonly dataOffset: number;
  /** Length that the tensors' offsets ask for. */
  readonly dataBytes: number;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

export type TensorEntry = z.infer<typeof tensorSchema>;

function headerFrom(json: string): z.infer<typeof headerSchema> {
  try {
    return headerSchema.parse(JSON.parse(json));
  } catch (cause) {
    throw new Error('not a safetensors file: its header cannot be read', { cause });
  }
}

function parseHeader(json: string, dataOffset: number): SafetensorsHeader {
  const { __metadata__: metadata, ...tensors } = headerFrom(json);
  const ends = Object.values(tensors).map((tensor) => tensor.data_offsets[1]);
  return { metadata, dataOffset, dataBytes: Math.max(0, ...ends), tensors: new Map(Object.entries(tensors)) };
}

/** Header of a safetensors file. Throws a plain Error that says why on anything that is not one. */
export async function readHeader(path: string): Promise<SafetensorsHeader> {
  // Not blocking: to open a pipe would wait for whoever writes to it.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new Error('no regular file');
    const length = Buffer.alloc(LENGTH_BYTES);
    const { bytesRead } = await file.read(length, 0, LENGTH_BYTES, 0);
    const headerBytes = bytesRead === LENGTH_BYTES ? Number(length.readBigUInt64LE()) : Number.NaN;
    if (!(headerBytes <= MAX_HEADER_BYTES)) throw new Error('not a safetensors file');
    const json = Buffer.alloc(headerBytes);
    const header = await file.read(json, 0, headerBytes, LENGTH_BYTES);
    if (header.bytesRead !== headerBytes) throw new Error('the file ends inside its header');
    return parseHeader(json.toString('utf8'), LENGTH_BYTES + headerBytes);
  } finally {
    await file.close();
  }
}

/** Numbers of an F32, I32 or U8 tensor; undefined when there is none of that name. */
export function tensorNumbers(file: Buffer, header: SafetensorsHeader, name: string): number[] | undefined {
  const entry = header.tensors.get(name);
  if (entry === undefined) return undefined;
  const [begin, end] = entry.data_offsets;
  const bytes = file.subarray(header.dataOffset + begin, header.dataOffset + end);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (entry.dtype === 'U8') return [...bytes];
  const read = entry.dtype === 'F32' ? view.getFloat32.bind(view) : view.getInt32.bind(view);
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, index) => read(index * 4, true));
}

/**
 * SHA-256 in hex over all that the file says: its texts, its tensors' names, types, shapes and places, and their
 * bytes. Only the text `content_sha256`, which holds the hash, is not in it.
 */
export function contentSha256(file: Buffer, header: SafetensorsHeader): string {
  const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => (a < b ? -1 : 1);
  const texts = Object.entries(header.metadata).filter(([name]) => name !== 'content_sha256');
  const tensors = [...header.tensors].map(
    ([name, { dtype, shape, data_offsets }]) => [name, [dtype, shape, data_offsets]] as const,
  );
  return createHash('sha256')
    .update(JSON.stringify([texts.sort(byName), tensors.sort(byName)]))
    .update(file.subarray(header.dataOffset))
    .digest('hex');
}

/** Replaces the file by one with `extra` added to its metadata, at once or not at all. */
export async function addMetadata(path: string, extra: Readonly<Record<string, string>>): Promise<void> {
  const file = await readFile(path);
  const { dataOffset } = await readHeader(path);
  const header = JSON.parse(file.subarray(LENGTH_BYTES, dataOffset).toString('utf8')) as {
    __metadata__?: Record<string, string>;
  };
  const json = JSON.stringify({ ...header, __metadata__: { ...header.__metadata__, ...extra } });
  // Readers that map tensors in place want their first byte at a multiple of 8.
  const padded = Buffer.from(json.padEnd(json.length + ((8 - (Buffer.byteLength(json) % 8)) % 8)));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(padded.length));
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, Buffer.concat([length, padded, file.subarray(dataOffset)]));
  await rename(temporary, path);
}
