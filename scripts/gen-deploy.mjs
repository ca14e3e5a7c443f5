#!/usr/bin/env node
/**
 * Writes what is delivered beside the programs from its sources in deploy/source: the Helm chart and the static
 * manifests, Grafana's dashboards and Prometheus' alerting rules. `--check` writes nothing and fails when a file is not as generated.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { dump } from "js-yaml";
import { writeGenerated } from "./generated.mjs";
import { importTs } from "./import-ts.mjs";

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

async function watching() {
  const { dashboards } = await importTs("deploy/source/dashboards.ts");
  const { dashboardJson } = await importTs("deploy/source/panels.ts");
  const { alerts } = await importTs("deploy/source/alerts.ts");
  const boards = dashboards.map((board) => [
    `deploy/dashboards/${board.uid}.json`,
    `${JSON.stringify(dashboardJson(board), null, 2)}\n`,
  ]);
  return [...boards, ["deploy/prometheus/alerts.yaml", ruleFile(alerts)]];
}

/** The chart, and what it renders to when nobody says anything. */
async function installing() {
  const { chartFiles, manifestFiles } = await importTs("deploy/source/kubernetes/files.ts");
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../package.json"), "utf8"));
  const under = (folder, files) => Object.entries(files).map(([name, text]) => [`${folder}/${name}`, text]);
  return [
    ...under("deploy/helm/axoneme", chartFiles(version)),
    ...under("deploy/manifests", manifestFiles(version)),
  ];
}

const all = [...(await watching()), ...(await installing())];
writeGenerated(Object.fromEntries(all), { name: "deploy", mend: "make docs" });
