#!/usr/bin/env node
/**
 * Writes what is delivered beside the programs from its sources in deploy/source: Grafana's dashboards and Prometheus'
 * alerting rules. `--check` writes nothing and fails when a file is not as generated.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { dump } from "js-yaml";
import { importTs } from "./import-ts.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const head = "# Written by scripts/gen-deploy.mjs from deploy/source; change it there.\n";

function ruleFile(alerts) {
  const rules = alerts.map(({ alert, expr, for: lasting, severity, summary, description }) => ({
    alert,
    expr,
    for: lasting,
    labels: { severity },
    annotations: { summary, description },
  }));
  return head + dump({ groups: [{ name: "axoneme", rules }] }, { lineWidth: 120 });
}

async function files() {
  const { dashboards } = await importTs("deploy/source/dashboards.ts");
  const { dashboardJson } = await importTs("deploy/source/panels.ts");
  const { alerts } = await importTs("deploy/source/alerts.ts");
  const boards = dashboards.map((board) => [
    `deploy/dashboards/${board.uid}.json`,
    `${JSON.stringify(dashboardJson(board), null, 2)}\n`,
  ]);
  return [...boards, ["deploy/prometheus/alerts.yaml", ruleFile(alerts)]];
}

const check = process.argv.includes("--check");
const stale = [];
for (const [file, text] of await files()) {
  const path = join(root, file);
  if (existsSync(path) && readFileSync(path, "utf8") === text) continue;
  stale.push(file);
  if (check) continue;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
if (check && stale.length > 0) {
  console.error(`deploy: ${stale.join(", ")} not as generated: run "node scripts/gen-deploy.mjs" and commit`);
  process.exit(1);
}
if (!check) console.log(stale.length === 0 ? "deploy: nothing changed" : `deploy: wrote ${stale.join(", ")}`);
