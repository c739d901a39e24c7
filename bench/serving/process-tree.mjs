// What a server's processes take: of those that were started and of all that these have started.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const CLOCK_TICKS = Number(execFileSync('getconf', ['CLK_TCK']).toString());

/** Process id → parent and CPU seconds of all threads, of every process of the machine. */
function processTable() {
  const table = new Map();
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
      table.set(Number(entry), { parent: Number(fields[1]), cpuSeconds });
    } catch {
      // ended meanwhile
    }
  }
  return table;
}

/** The processes and all their descendants, with their CPU seconds. */
function treeOf(pids) {
  const table = processTable();
  const members = new Set(pids);
  for (let grown = true; grown;) {
    grown = false;
    for (const [pid, { parent }] of table) {
      if (members.has(pid) || !members.has(parent)) continue;
      members.add(pid);
      grown = true;
    }
  }
  return [...members].flatMap((pid) => {
    const entry = table.get(pid);
    return entry === undefined ? [] : [{ pid, cpuSeconds: entry.cpuSeconds }];
  });
}

export const cpuSecondsOf = (pids) => treeOf(pids).reduce((total, { cpuSeconds }) => total + cpuSeconds, 0);

/** Of all of them together, in MiB; pages that two of them share count twice. */
function mibOf(pids, field) {
  const kib = treeOf(pids).map(({ pid }) => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
    } catch {
      return 0;
    }
  });
  return Math.round(kib.reduce((total, each) => total + each, 0) / 1024);
}

/** Each process's highest resident set, added up. */
export const peakResidentMib = (pids) => mibOf(pids, 'VmHWM');

/** What is resident at this moment. */
export const residentMibOf = (pids) => mibOf(pids, 'VmRSS');

export function signalTree(pids, signal) {
  for (const { pid } of treeOf(pids)) {
    try {
      process.kill(pid, signal);
    } catch {
      // ended meanwhile
    }
  }
}
