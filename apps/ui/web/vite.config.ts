import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** The page, as static files. Everything it needs comes from the server that serves it. */
export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  plugins: [react()],
  worker: { format: "es" },
  build: {
    outDir: "../../../dist/ui",
    emptyOutDir: true,
    target: "es2022",
  },
});
