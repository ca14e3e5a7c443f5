import type { LogQuery } from "./containerlog.ts";

/** Reads the query of /containerLogs; numbers that are none are left out, as absent. */
export function parseLogQuery(query: URLSearchParams, now: number): LogQuery & { previous: boolean } {
  const number = (name: string): number | undefined => {
    const text = query.get(name);
    return text !== null && /^\d+$/.test(text) ? Number(text) : undefined;
  };
  const isSet = (name: string): boolean => query.get(name) === "true" || query.get(name) === "1";
  const tailLines = number("tailLines");
  const limitBytes = number("limitBytes");
  const sinceSeconds = number("sinceSeconds");
  const sinceTime = Date.parse(query.get("sinceTime") ?? "");
  const since =
    sinceSeconds !== undefined ? now - sinceSeconds * 1000 : Number.isNaN(sinceTime) ? undefined : sinceTime;
  return {
    follow: isSet("follow"),
    previous: isSet("previous"),
    timestamps: isSet("timestamps"),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(limitBytes === undefined ? {} : { limitBytes }),
    ...(since === undefined ? {} : { since }),
  };
}
