/**
 * What the CLI needs of @axoneme/lab. Loaded only by the lab commands: the lab brings native parts and an API server
 * that no other command needs.
 */

export interface LabUpOptions {
  readonly name: string;
  readonly nodes: number;
  readonly routing: "native" | "tunnel";
  readonly signal: AbortSignal;
  readonly onProgress: (message: string) => void;
}

export interface LabNodeView {
  readonly name: string;
  readonly address: string;
  readonly agent: string;
  readonly pods: number;
}

export interface LabView {
  readonly name: string;
  readonly state: string;
  readonly kubeconfig: string;
  readonly nodes: readonly LabNodeView[];
}
