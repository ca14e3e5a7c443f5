#!/usr/bin/env node
/**
 * Writes what is delivered beside the programs from its sources in deploy/source: Grafana's dashboards and Prometheus'
 * alerting rules. `--check` writes nothing and fails when a file is not as generated.
 */
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

writeGenerated(Object.fromEntries(await files()), { name: "deploy", mend: "make docs" });
