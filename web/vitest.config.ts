import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['{client,react}/test/**/*.test.{ts,tsx}'], testTimeout: 300_000, maxWorkers: 2 },
  resolve: { alias: { '@backtalk/client': new URL('./client/src/index.ts', import.meta.url).pathname } },
});
