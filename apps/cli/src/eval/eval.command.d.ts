import type { Command } from 'commander';
export declare function registerEval(program: Command): void;
//# sourceMappingURL=eval.command.d.ts.map
