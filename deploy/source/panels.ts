/** One curve, or several: a query of Prometheus and how its series are called. */
export interface Query {
  readonly expr: string;
  /** Grafana's pattern, as `{{reason}}`. */
  readonly legend: string;
}

/** What one picture of a dashboard shows. */
export interface Panel {
  readonly title: string;
  /** One sentence: what it means, and when to worry. */
  readonly help: string;
  readonly kind: "timeseries" | "stat" | "bargauge";
  /** Grafana's name of the unit: short, pps, Bps, s, bytes, percentunit, ... */
  readonly unit: string;
  readonly queries: readonly Query[];
}

/** Panels that belong together. */
export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** A dashboard before it is Grafana's JSON. */
export interface Dashboard {
  /** Grafana's identifier: links to it survive an upgrade. */
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  /** Variables besides the data source: name, and the query of its values. */
  readonly variables: readonly { readonly name: string; readonly query: string }[];
  readonly rows: readonly Row[];
}

/** All queries of a dashboard; tests evaluate each of them. */
export function queriesOf({ rows }: Dashboard): { panel: string; expr: string }[] {
  return rows.flatMap(({ panels }) =>
    panels.flatMap(({ title, queries }) => queries.map(({ expr }) => ({ panel: title, expr }))),
  );
}

/** Columns of Grafana's grid, and what a panel takes of them. */
const columns = 24;
const width = 8;
const height = 8;
const source = { type: "prometheus", uid: "$datasource" };

function panelJson(panel: Panel, id: number, x: number, y: number): object {
  const { title, help, kind, unit, queries } = panel;
  return {
    id,
    title,
    description: help,
    type: kind,
    datasource: source,
    gridPos: { x, y, w: width, h: height },
    fieldConfig: {
      defaults: {
        unit,
        min: 0,
        color: { mode: "palette-classic" },
        custom: kind === "timeseries" ? { drawStyle: "line", fillOpacity: 10, showPoints: "never" } : {},
      },
      overrides: [],
    },
    options:
      kind === "timeseries"
        ? { legend: { displayMode: "list", placement: "bottom" }, tooltip: { mode: "multi", sort: "desc" } }
        : { reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false } },
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: source,
      expr,
      legendFormat: legend,
      range: true,
    })),
  };
}

/** Grafana's JSON of a dashboard: schema 39, read by Grafana 10 and later. */
export function dashboardJson({ uid, title, description, variables, rows }: Dashboard): object {
  const panels: object[] = [];
  let y = 0;
  let id = 0;
  for (const row of rows) {
    panels.push({
      id: ++id,
      type: "row",
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y: y++, w: columns, h: 1 },
      panels: [],
    });
    row.panels.forEach((panel, index) => {
      const x = (index * width) % columns;
      panels.push(panelJson(panel, ++id, x, y + Math.floor((index * width) / columns) * height));
    });
    y += Math.ceil((row.panels.length * width) / columns) * height;
  }
  return {
    uid,
    title,
    description,
    tags: ["axoneme"],
    schemaVersion: 39,
    editable: true,
    refresh: "30s",
    time: { from: "now-30m", to: "now" },
    timezone: "browser",
    templating: { list: [dataSourceVariable, ...variables.map(variableJson)] },
    annotations: { list: [] },
    panels,
  };
}

const dataSourceVariable = {
  name: "datasource",
  label: "Data source",
  type: "datasource",
  query: "prometheus",
  current: {},
};

function variableJson({ name, query }: { name: string; query: string }): object {
  return {
    name,
    type: "query",
    datasource: source,
    query: { query, refId: name },
    definition: query,
    includeAll: true,
    multi: true,
    allValue: ".*",
    refresh: 2,
    sort: 1,
    current: { text: "All", value: "$__all" },
  };
}
