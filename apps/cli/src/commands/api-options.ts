import type { Command } from "commander";

/** Options by which commands that ask the API server, of a lab or a cluster, find it. */
export function addApiOptions(command: Command): Command {
  return command
    .option(
      "--kubeconfig <file>",
      "kubeconfig of the cluster (default: of the lab, $KUBECONFIG, ~/.kube/config)",
    )
    .option("--context <name>", "context of the kubeconfig")
    .option(
      "--lab <name>",
      "a lab's cluster (default: $AXON_LAB, else the only one, where no kubeconfig is named)",
    );
}
