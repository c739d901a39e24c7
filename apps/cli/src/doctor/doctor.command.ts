import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { partMain, ROOT } from '../paths.js';
import { hostOption, modelOption, portOption, redisOption } from '../up/options.js';
import { engineFindings } from './engine.js';
import type { Finding } from './finding.js';
import { machineFindings, readMachine } from './machine.js';
import { modelFindings } from './model.js';
import { portFindings } from './ports.js';
import { redisFindings } from './redis.js';
import { doctorScreen, tally } from './screen.js';

interface DoctorOptions {
  readonly model: readonly string[];
  readonly redis?: string;
  readonly port: number;
  readonly host: string;
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  kvcapsule doctor                                    whether \`up\` would run here
  kvcapsule doctor --model ./SmolVLM-256M-Instruct    whether this model would
  kvcapsule doctor --redis redis://store:6379         whether that store is fit`;

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('look at machine, ports, Redis, engine and model, and say what to do')
    .addOption(modelOption())
    .addOption(redisOption('look at this Redis (default: the program of a private one)'))
    .addOption(portOption())
    .addOption(hostOption())
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(doctor);
}

async function doctor({ model, redis, port, host, json }: DoctorOptions): Promise<void> {
  const facts = await readMachine(ROOT, existsSync(partMain('worker')));
  const memoryBytes = Math.min(facts.memoryBytes, facts.groupBytes || Infinity);
  const findings: Finding[] = machineFindings(facts);
  findings.push(...(await engineFindings()));
  for (const folder of model) findings.push(...(await modelFindings(folder, memoryBytes)));
  findings.push(...(await redisFindings(redis)), ...(await portFindings(host, port)));
  const counts = tally(findings);
  process.stdout.write(
    json === true ? `${JSON.stringify({ counts, findings }, null, 2)}\n` : doctorScreen(findings),
  );
  if (counts.fail > 0) process.exitCode = 1;
}
