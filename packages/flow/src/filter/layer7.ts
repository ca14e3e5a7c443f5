/** Clauses on layer-7 records (HTTP, DNS). A flow without such a record never matches one. */
import { AxonError } from "@axoneme/base";
import type { FlowFilter } from "../flow.ts";
import { eventType } from "../names.ts";
import { at } from "../record.ts";
import { anyOf, type Clause, type RawTest } from "./clause.ts";
import { compileRegex, compileStatus, type RegexCompiler } from "./pattern.ts";

const httpFields = ["http_status_code", "http_method", "http_path", "http_url", "http_header"] as const;

function pathOf(url: string | undefined): string {
  if (url === undefined) return "";
  return URL.canParse(url) ? new URL(url).pathname : (url.split(/[?#]/)[0] ?? "");
}

/** A filter on HTTP that also excludes layer-7 events can never match: an error rather than silence. */
function checkEventType(filter: FlowFilter): void {
  const types = filter.event_type ?? [];
  const set = httpFields.filter((field) => (filter[field] ?? []).length > 0);
  if (set.length === 0 || types.length === 0 || types.some((type) => type.type === eventType.l7)) return;
  throw new AxonError("flow.filter_invalid", `filter ${set.join(", ")} needs event_type l7 (129) or none`);
}

const isLayer7: RawTest = (view, _, o) => view.getUint8(o + at.type) === eventType.l7;

/** All clauses of the layer-7 fields that are set. */
export function layer7Clauses(filter: FlowFilter, regex?: RegexCompiler): Clause[] {
  checkEventType(filter);
  const clauses: Clause[] = [];
  const add = <K extends Exclude<keyof FlowFilter, "experimental">>(
    field: K,
    make: (values: NonNullable<FlowFilter[K]>) => Clause,
  ): void => {
    const values = filter[field];
    if (values !== undefined && values.length > 0) clauses.push({ ...make(values), raw: isLayer7 });
  };
  add("http_status_code", (values) =>
    anyOf(values, (value) => {
      const test = compileStatus("http_status_code", value);
      return (flow) => test(flow.l7?.http?.code ?? 0);
    }),
  );
  add("http_method", (values) => {
    const wanted = new Set(values.map((value) => value.toUpperCase()));
    return { match: (flow) => wanted.has((flow.l7?.http?.method ?? "").toUpperCase()) };
  });
  add("http_path", (values) =>
    anyOf(values, (value) => {
      const test = compileRegex("http_path", value, regex);
      return (flow) => flow.l7?.http !== undefined && test(pathOf(flow.l7.http.url));
    }),
  );
  add("http_url", (values) =>
    anyOf(values, (value) => {
      const test = compileRegex("http_url", value, regex);
      return (flow) => flow.l7?.http !== undefined && test(flow.l7.http.url ?? "");
    }),
  );
  add("http_header", (values) =>
    anyOf(
      values,
      (wanted) => (flow) =>
        (flow.l7?.http?.headers ?? []).some(
          (header) => header.key === wanted.key && header.value === wanted.value,
        ),
    ),
  );
  add("dns_query", (values) =>
    anyOf(values, (value) => {
      const test = compileRegex("dns_query", value, regex);
      return (flow) => flow.l7?.dns !== undefined && test(flow.l7.dns.query ?? "");
    }),
  );
  return clauses;
}
