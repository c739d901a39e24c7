import { refusalError } from '@kvcapsule/domain/ledger';
import type {
  Registrant,
  RegistryPort,
  WorkerDescriptor,
  WorkerLoad,
  WorkerRecord,
} from '@kvcapsule/domain/registry';

import { type MemoryStore } from './memory-store.js';

/** The registry's rules in memory. */
export class MemoryRegistry implements RegistryPort {
  constructor(private readonly store: MemoryStore) {}

  register(descriptor: WorkerDescriptor, load: WorkerLoad, by: Registrant): Promise<{ epoch: number }> {
    return this.store.answer(() => {
      const entry = this.store.entry(descriptor.workerId);
      const before = entry.ledger.account(this.store.nowMs)?.epoch;
      const epoch = entry.ledger.register(by, descriptor.capacityPages, this.store.nowMs);
      if (typeof epoch === 'string') throw refusalError(epoch, descriptor.workerId);
      if (epoch !== before) Object.assign(entry, { descriptor, load });
      return { epoch };
    });
  }

  heartbeat(workerId: string, epoch: number, load: WorkerLoad): Promise<void> {
    return this.store.answer(() => {
      const entry = this.store.entry(workerId);
      const refusal = entry.ledger.heartbeat(epoch, this.store.nowMs);
      if (refusal) throw refusalError(refusal, workerId);
      entry.load = load;
    });
  }

  deregister(workerId: string, epoch: number): Promise<void> {
    return this.store.answer(() => {
      this.store.entry(workerId).ledger.deregister(epoch, this.store.nowMs);
    });
  }

  list(): Promise<readonly WorkerRecord[]> {
    return this.store.answer(() => this.store.workerIds.flatMap((workerId) => this.#record(workerId) ?? []));
  }

  #record(workerId: string): WorkerRecord | undefined {
    const { ledger, descriptor, load } = this.store.entry(workerId);
    const epoch = ledger.account(this.store.nowMs)?.epoch;
    return epoch === undefined || !descriptor || !load ? undefined : { ...descriptor, epoch, load };
  }
}
