import { useEffect, useState } from "react";
import type { PolicyBook } from "../src/shared/policy-book.ts";

/** Policies of the cluster, or why there are none. */
export interface Policies {
  readonly book: PolicyBook | undefined;
  readonly error: string;
}

/** Reads the policies anew whenever `about` is another thing. */
export function usePolicies(about: string): Policies {
  const [policies, setPolicies] = useState<Policies>({ book: undefined, error: "" });
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is looked at says when to look again
  useEffect(() => {
    const abort = new AbortController();
    read(abort.signal).then(
      (book) => setPolicies({ book, error: "" }),
      (error: unknown) => {
        if (!abort.signal.aborted) setPolicies({ book: undefined, error: String(error) });
      },
    );
    return () => abort.abort();
  }, [about]);
  return policies;
}

async function read(signal: AbortSignal): Promise<PolicyBook> {
  const response = await fetch("api/policies", { signal });
  const body = (await response.json()) as { message?: string } | PolicyBook;
  if (!response.ok || !("objects" in body))
    throw new Error((body as { message?: string }).message ?? response.statusText);
  return body;
}
