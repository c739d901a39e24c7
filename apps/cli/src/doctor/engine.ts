import { addonPath, loadBinding } from '@kvcapsule/engine';
import { type Finding, group, told } from './finding.js';

const { ok, warn, fail } = group('engine');

/** Loads the addon as a worker does: in a process of its own first. */
export async function engineFindings(env: NodeJS.ProcessEnv = process.env): Promise<Finding[]> {
  try {
    const { version, ggml, arithmetic } = (await loadBinding()).buildInfo();
    const addon = ok('addon', `${addonPath()}, version ${version}, ggml ${ggml}`);
    if (!env['KVCAPSULE_MAX_CPU_ISA']) return [addon, ok('kernels', arithmetic)];
    const limited = 'KVCAPSULE_MAX_CPU_ISA limits them: unset it to use all that the processor has.';
    return [addon, warn('kernels', arithmetic, limited)];
  } catch (error) {
    return [fail('addon', told(error)[0], './kvcapsule up builds what is missing.')];
  }
}
