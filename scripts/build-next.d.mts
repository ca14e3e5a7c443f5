/** Builds the version after this one (AX_NEXT_VERSION) as far as it changed; returns its folder. */
export function buildNext(): Promise<string>;
