/** Builds every product whose inputs changed; returns their names. With `outDir`: datapath objects only, to there. */
export function buildBpf(options?: {
  force?: boolean;
  verbose?: boolean;
  only?: string;
  defines?: string[];
  outDir?: string;
}): Promise<string[]>;
/** Compiles one datapath source with the product's flags. Throws with the compiler's words. */
export function compileBpf(source: string, output: string, includes?: string[]): void;
