import type { Filter, Verdict } from "../src/shared/model.ts";
import type { Look } from "./address.ts";
import type { Grouping } from "./graph.ts";

interface Props {
  readonly look: Look;
  readonly change: (part: Partial<Look>) => void;
  readonly namespaces: readonly string[];
  readonly grouping: Grouping;
  readonly setGrouping: (grouping: Grouping) => void;
}

const minutes = [5, 15, 60, 360, 1440] as const;

/** What is looked at. Every control changes the page's address. */
export function Filters({ look, change, namespaces, grouping, setGrouping }: Props) {
  const { filter, past } = look;
  const set = (part: Partial<Filter>): void => change({ filter: { ...filter, ...part } });
  const goTo = (value: string): void => {
    const until = Date.now();
    change({ past: value === "" ? undefined : { since: until - Number(value) * 60_000, until } });
  };
  return (
    <search className="filters">
      <label>
        Namespace
        <select value={filter.namespace} onChange={({ target }) => set({ namespace: target.value })}>
          <option value="">all</option>
          {[...new Set([...namespaces, ...(filter.namespace ? [filter.namespace] : [])])].map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        Verdict
        <select
          value={filter.verdict}
          onChange={({ target }) => set({ verdict: target.value as "" | Verdict })}
        >
          <option value="">any</option>
          <option value="forwarded">forwarded</option>
          <option value="dropped">dropped</option>
          <option value="audit">audit</option>
          <option value="error">error</option>
        </select>
      </label>
      <label>
        Protocol
        <select value={filter.protocol} onChange={({ target }) => set({ protocol: target.value })}>
          <option value="">any</option>
          {["TCP", "UDP", "SCTP", "ICMPV4", "ICMPV6"].map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        Port
        <input
          inputMode="numeric"
          size={6}
          value={filter.port}
          onChange={({ target }) => set({ port: target.value.replace(/\D/g, "").slice(0, 5) })}
        />
      </label>
      <label className="wide">
        Find
        <input
          type="search"
          placeholder="pod, label, address, program"
          value={filter.text}
          onChange={({ target }) => set({ text: target.value })}
        />
      </label>
      {filter.group !== "" && (
        <button
          type="button"
          className="chip"
          onClick={() => set({ group: "" })}
          aria-label={`no longer only ${filter.group}`}
        >
          {filter.group.replace(/^[a-z]+:/, "")} ✕
        </button>
      )}
      <label>
        Time
        <select value={past === undefined ? "" : "past"} onChange={({ target }) => goTo(target.value)}>
          <option value="">now, live</option>
          {past !== undefined && (
            <option value="past">
              {new Date(past.since).toLocaleTimeString()} – {new Date(past.until).toLocaleTimeString()}
            </option>
          )}
          {minutes.map((count) => (
            <option key={count} value={count}>
              the last {count < 60 ? `${count} minutes` : count === 60 ? "hour" : `${count / 60} hours`}
            </option>
          ))}
        </select>
      </label>
      <label>
        Draw
        <select value={grouping} onChange={({ target }) => setGrouping(target.value as Grouping)}>
          <option value="auto">as fits</option>
          <option value="workload">workloads</option>
          <option value="namespace">namespaces</option>
        </select>
      </label>
    </search>
  );
}
