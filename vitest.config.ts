import { defineConfig } from "vitest/config";

/**
 * Two projects: `unit` runs anywhere and in parallel; `root` needs root and the real kernel
 * (namespaces, maps, programs) and runs its files one after the other in processes of their own,
 * because a network namespace belongs to a thread and maps are shared state.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["packages/*/test/**/*.test.ts", "apps/*/test/**/*.test.ts"],
          exclude: ["**/*.root.test.ts", "**/node_modules/**"],
          pool: "forks",
          // Above what waitFor waits, whose message says for what.
          testTimeout: 20_000,
          hookTimeout: 20_000,
        },
      },
      {
        test: {
          name: "root",
          include: [
            "packages/*/test/**/*.root.test.ts",
            "apps/*/test/**/*.root.test.ts",
            "bpf/test/**/*.test.ts",
            "test/**/*.test.ts",
          ],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
