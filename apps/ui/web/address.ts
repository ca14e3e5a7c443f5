import { useCallback, useState } from "react";
import { type Filter, readFilter, writeFilter } from "../src/shared/model.ts";

/** What the page looks at: all of it is in its address, so that a link shows another person the same. */
export interface Look {
  readonly filter: Filter;
  /** Undefined: what happens now. Milliseconds since the epoch. */
  readonly past: { readonly since: number; readonly until: number } | undefined;
}

function read(): Look {
  const query = new URLSearchParams(location.search);
  const [since, until] = [Number(query.get("since")), Number(query.get("until"))];
  const past = since > 0 && until > since ? { since, until } : undefined;
  return { filter: readFilter(query), past };
}

function write({ filter, past }: Look): void {
  const query = writeFilter(filter);
  if (past !== undefined) {
    query.set("since", String(past.since));
    query.set("until", String(past.until));
  }
  const text = query.toString();
  history.replaceState(null, "", text === "" ? location.pathname : `?${text}`);
}

/** The look, and how to change it. */
export function useLook(): [Look, (change: Partial<Look>) => void] {
  const [look, setLook] = useState(read);
  const change = useCallback((part: Partial<Look>) => {
    setLook((before) => {
      const after = { ...before, ...part };
      write(after);
      return after;
    });
  }, []);
  return [look, change];
}
