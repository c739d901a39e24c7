import {
  type Event,
  FinishReason,
  type Generate,
  type KvBytes,
  type Usage as WireUsage,
} from '@kvcapsule/contracts/worker';
import type { GenerateRequest, RequestEvent, Usage } from '@kvcapsule/serving';

const FINISH = {
  stop: FinishReason.FINISH_REASON_STOP,
  length: FinishReason.FINISH_REASON_LENGTH,
  abort: FinishReason.FINISH_REASON_ABORT,
} as const;

/** What a router's message asks for; whoever receives it keeps the files that came along. */
export function fromWire({ remainingMs, lease, pictures, ...generate }: Generate): GenerateRequest {
  return {
    ...generate,
    pictures: pictures.map(({ contentSha256, offset, length, param }) => ({
      ...{ contentSha256, offset, length, param },
    })),
    lease: lease?.leaseId ? lease : undefined,
    remainingMs: remainingMs > 0n ? Number(remainingMs) : undefined,
  };
}

/** A request's event as its router reads it. */
export function toWire(requestId: string, event: RequestEvent): Event {
  return { requestId, event: wireEvent(event) };
}

function wireEvent(event: RequestEvent): NonNullable<Event['event']> {
  switch (event.kind) {
    case 'started': {
      const { promptTokens, cachedTokens } = event;
      return { $case: 'started', value: { promptTokens, cachedTokens } };
    }
    case 'recompressed': {
      const { pictures, textStarts } = event;
      return { $case: 'recompressed', value: { pictures: [...pictures], textStarts: [...textStarts] } };
    }
    case 'delta': {
      const { text, tokenIds, logprobs } = event;
      return { $case: 'delta', value: { text, tokenIds, logprobs } };
    }
    case 'finished': {
      const { text, reason, usage, poolExhausted } = event;
      const value = { text, reason: FINISH[reason], usage: wireUsage(usage), poolExhausted };
      return { $case: 'finished', value };
    }
    case 'failed': {
      const { code, message, param } = event;
      return { $case: 'failed', value: { code, message, param } };
    }
  }
}

function wireUsage({ kv, ...tokens }: Usage): WireUsage {
  return { ...tokens, kv: { codec: kv.codec, ...wireBytes(kv), pictures: wireBytes(kv.pictures) } };
}

function wireBytes({ bytes, rawBytes }: Usage['kv']['pictures']): KvBytes {
  return { bytes: BigInt(bytes), rawBytes: BigInt(rawBytes) };
}
