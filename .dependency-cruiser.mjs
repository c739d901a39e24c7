/** For `npm run check`: who imports whom, read from the sources of all workspaces, imports of types included. */
export default {
  forbidden: [{ name: 'no-circles', severity: 'error', from: {}, to: { circular: true } }],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    includeOnly: '^(apps|libs|e2e|helm)/[^/]*/?src/',
    exclude: '/src/gen/',
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['@kvcapsule/source', 'import'] },
  },
};
