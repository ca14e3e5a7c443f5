import type { FlowLogs, FlowLogsOptions } from "./flow-logs.ts";

export type { FlowLogConfig } from "./config.ts";
export type { FlowLogs, FlowLogsOptions } from "./flow-logs.ts";

/** Writes flows to files as configured; what that needs is loaded by the first call. */
export async function startFlowLogs(
  options: Omit<FlowLogsOptions, "fixed"> & { readonly fixed?: readonly unknown[] },
): Promise<FlowLogs> {
  const [{ FlowLogs: Logs }, { parseFlowLog }] = await Promise.all([
    import("./flow-logs.ts"),
    import("./config.ts"),
  ]);
  const fixed = (options.fixed ?? []).map((raw) => parseFlowLog(raw, "the agent's options"));
  return Logs.start({ ...options, fixed });
}
