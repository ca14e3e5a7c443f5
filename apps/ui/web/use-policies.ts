import { useEffect, useState } from "react";

/** Policies of the cluster, or why there are none. */
export interface Policies {
  readonly objects: readonly unknown[] | undefined;
  readonly error: string;
}

/** Reads the policies anew whenever `about` is another thing. */
export function usePolicies(about: string): Policies {
  const [policies, setPolicies] = useState<Policies>({ objects: undefined, error: "" });
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is looked at says when to look again
  useEffect(() => {
    const abort = new AbortController();
    read(abort.signal).then(
      (objects) => setPolicies({ objects, error: "" }),
      (error: unknown) => {
        if (!abort.signal.aborted) setPolicies({ objects: undefined, error: String(error) });
      },
    );
    return () => abort.abort();
  }, [about]);
  return policies;
}

async function read(signal: AbortSignal): Promise<readonly unknown[]> {
  const response = await fetch("api/policies", { signal });
  const body = (await response.json()) as { message?: string } | unknown[];
  if (!response.ok || !Array.isArray(body))
    throw new Error((body as { message?: string }).message ?? response.statusText);
  return body;
}
