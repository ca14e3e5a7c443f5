/** The examples at the end of a command's help. */
export function examples(...lines: readonly (readonly [command: string, says: string])[]): string {
  const width = Math.max(...lines.map(([command]) => command.length));
  const text = lines.map(([command, says]) => `  ${command.padEnd(width)}  ${says}`);
  return `\nExamples:\n${text.join("\n")}\n`;
}

/** Short form of long label lists for tables: the security relevant ones, without the `k8s:` source. */
export function labelsText(labels: readonly string[]): string {
  const shown = labels
    .filter((label) => !label.startsWith("k8s:io.cilium.k8s.namespace.labels."))
    .map((label) => label.replace(/^k8s:/, ""));
  return shown.length === 0 ? "-" : shown.join(",");
}
