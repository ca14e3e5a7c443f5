/**
 * A vitest reporter: what failed, a line each, into the file that AXON_FAILURES names. Vitest's own JSON report does not
 * say why a hook failed, and a lab that does not come up fails in one.
 */
import { writeFileSync } from "node:fs";
import { relative } from "node:path";
import { stripVTControlCharacters } from "node:util";

/** Errors of a file, of its suites (their hooks), and of its tests. */
function* errorsOf(entity, names) {
  const errors = entity.type === "test" ? (entity.result().errors ?? []) : entity.errors();
  for (const { message } of errors) yield [...names, stripVTControlCharacters(message ?? "")].join(": ");
  for (const child of entity.children ?? []) yield* errorsOf(child, [...names, child.name]);
}

export default class FailuresReporter {
  onTestRunEnd(modules, unhandled) {
    const lines = [
      ...modules.flatMap((module) => [...errorsOf(module, [relative(process.cwd(), module.moduleId)])]),
      ...unhandled.map(({ message }) => `outside every test: ${stripVTControlCharacters(message)}`),
    ];
    writeFileSync(
      process.env.AXON_FAILURES,
      lines.map((line) => `${line.replaceAll(/\s+/g, " ").slice(0, 500)}\n`).join(""),
    );
  }
}
