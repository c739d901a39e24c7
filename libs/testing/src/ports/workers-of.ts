import type { RegistryPort, WorkerRecord } from '@kvcapsule/domain/registry';

/** The workers that a router which comes at this moment hears of, in the order of their ids; rejects as it would miss them. */
export async function workersOf(registry: RegistryPort): Promise<readonly WorkerRecord[]> {
  let told: readonly WorkerRecord[] = [];
  let fault: unknown;
  const following = await registry.follow({
    heard: (news) => {
      if (news.told.length > 0) ({ told } = news);
    },
    missed: (error) => {
      fault = error;
    },
  });
  await following.stop();
  if (fault !== undefined) throw fault as Error;
  return [...told].sort((a, b) => (a.workerId < b.workerId ? -1 : 1));
}
