import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

/** Addresses are relative, so that the console works behind any path prefix. */
export default defineConfig({
  base: './',
  root: fileURLToPath(new URL('.', import.meta.url)),
  resolve: { conditions: ['@kvcapsule/source', 'import', 'module', 'browser', 'default'] },
  build: {
    outDir: 'dist',
    // no data: URIs, which its policy forbids but for pictures
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  // for development beside a running `kvcapsule up`
  server: { proxy: { '/v1': 'http://127.0.0.1:8000' }, fs: { allow: ['../..'] } },
});
