// Builds one file, dist/index.html, with everything in it: the lab serves it as it is, offline, and it loads nothing else.
import { defineConfig } from "vitest/config";
import { viteSingleFile } from "vite-plugin-singlefile";
import { excerpts } from "./excerpts";

/** A running lab, for `npm run dev`: LAB_URL=http://127.0.0.1:8090 */
const lab = process.env["LAB_URL"] ?? "http://127.0.0.1:8090";

export default defineConfig({
  plugins: [excerpts(), viteSingleFile({ removeViteModuleLoader: true })],
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: { target: "es2022", modulePreload: { polyfill: false }, reportCompressedSize: false },
  test: { include: ["src/**/*.test.ts"] },
  server: { proxy: { "/api": lab } },
});
