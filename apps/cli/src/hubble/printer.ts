import {
  flowCells,
  flowColumns,
  formatCompact,
  formatDict,
  type GetFlowsResponse,
  type Paint,
  type PrintOptions,
  type TimeFormat,
} from "@axoneme/flow";
import type { Context } from "../context.ts";
import { colorsOf } from "../output.ts";
import { TableStream } from "../table.ts";

/** Flags that say how flows look. */
export interface FormatOptions {
  output: "compact" | "dict" | "json" | "jsonpb" | "tab" | "table";
  printNodeName?: boolean;
  ipTranslation: boolean;
  numeric?: boolean;
  policyNames: boolean;
  printProcesses?: boolean;
  timeFormat?: TimeFormat;
  color?: "auto" | "always" | "never";
  silentErrors?: boolean;
}

/** Writes flows in the wanted format; what is no flow goes to stderr, except in JSON. */
export class FlowPrinter {
  readonly #context: Context;
  readonly #options: FormatOptions;
  readonly #print: PrintOptions;
  readonly #table: TableStream;
  #first = true;

  constructor(context: Context, options: FormatOptions, isSeveral: boolean) {
    const { output, printNodeName, ipTranslation, numeric, policyNames, printProcesses, timeFormat } =
      options;
    this.#context = context;
    this.#options = options;
    this.#print = {
      nodeName: printNodeName === true || (isSeveral && output.startsWith("tab")),
      numeric: !ipTranslation || numeric === true,
      policyNames,
      processes: printProcesses === true,
      paint: paintOf(context, options.color),
      ...(timeFormat === undefined ? {} : { timeFormat }),
    };
    const node = this.#print.nodeName === true ? [8] : [];
    this.#table = new TableStream(flowColumns(this.#print), [19, ...node, 36, 36, 28, 9, 14]);
  }

  async print(response: GetFlowsResponse): Promise<void> {
    // That all is well is not worth a line, as in the field.
    if (response.node_status?.state_change === "NODE_CONNECTED") return;
    if (response.flow === undefined && !this.#options.output.startsWith("json")) {
      if (this.#options.silentErrors !== true) {
        await this.#context.stderr.write(`${formatCompact(response, this.#print)}\n`);
      }
      return;
    }
    await this.#context.stdout.write(this.#text(response));
    this.#first = false;
  }

  #text(response: GetFlowsResponse): string {
    switch (this.#options.output) {
      case "json":
      case "jsonpb":
        return `${JSON.stringify(response)}\n`;
      case "dict":
        return `${this.#first ? "" : "------------\n"}${formatDict(response, this.#print)}\n`;
      case "tab":
      case "table":
        return this.#table.row(flowCells(response, this.#print));
      default:
        return `${formatCompact(response, this.#print)}\n`;
    }
  }
}

function paintOf(context: Context, color: FormatOptions["color"]): Paint {
  const env =
    color === "always"
      ? { FORCE_COLOR: "1" }
      : color === "never"
        ? { ...context.env, NO_COLOR: "1", FORCE_COLOR: "0" }
        : context.env;
  const colors = colorsOf({ ...context, env });
  const by: Record<Parameters<Paint>[0], (text: string) => string> = {
    host: colors.cyan,
    port: colors.yellow,
    identity: colors.magenta,
    forwarded: colors.green,
    dropped: colors.red,
    audit: colors.yellow,
    policy: colors.bold,
  };
  return (kind, text) => by[kind](text);
}
