import { Command } from "commander";
import { bpfCommand } from "./commands/bpf.ts";
import { completionCommand } from "./commands/completion.ts";
import { configCommand } from "./commands/config.ts";
import { connectivityCommand } from "./commands/connectivity.ts";
import { endpointCommand } from "./commands/endpoint.ts";
import { fqdnCommand } from "./commands/fqdn.ts";
import { hubbleCommand } from "./commands/hubble.ts";
import { installCommand, uninstallCommand, upgradeCommand } from "./commands/install.ts";
import { ipamCommand } from "./commands/ipam.ts";
import { labCommand } from "./commands/lab.ts";
import { lbCommand } from "./commands/lb.ts";
import { identityCommand, ipCommand } from "./commands/lists.ts";
import { migrateCommand } from "./commands/migrate.ts";
import { monitorCommand } from "./commands/monitor.ts";
import { nodeCommand } from "./commands/node.ts";
import { policyCommand } from "./commands/policy.ts";
import { serviceCommand } from "./commands/service.ts";
import { statusCommand } from "./commands/status.ts";
import { sysdumpCommand } from "./commands/sysdump.ts";
import { uiCommand } from "./commands/ui.ts";
import { versionCommand } from "./commands/version.ts";
import { whyCommand } from "./commands/why.ts";
import type { Context } from "./context.ts";

const footer = `
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 agent or API unreachable, 5 denied (why, policy preview), 130 interrupted.
Environment: AXON_LAB (which lab), AXON_RUN_DIR (where labs are, /run/axon), NO_COLOR, FORCE_COLOR.
`;

/** The whole command tree. Commands act on the context only; errors are thrown to `run`. */
export function buildProgram(context: Context): Command {
  const program = new Command("axon");
  program
    .description(
      "Axoneme: Kubernetes networking on eBPF. Look into the agents, their kernel maps and their flows.",
    )
    .version(context.version, "-V, --version", "print the version of this program")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [command]", "show help of a command")
    // An option belongs to the command it follows: `observe agent-events --last 5` is not about `observe`.
    .enablePositionalOptions()
    .addHelpText("after", footer);
  const groups: readonly (readonly [string, readonly Command[]])[] = [
    [
      "See what happens:",
      [
        statusCommand(context),
        hubbleCommand(context),
        monitorCommand(context),
        whyCommand(context),
        connectivityCommand(context),
        uiCommand(context),
        sysdumpCommand(context),
      ],
    ],
    [
      "See what is:",
      [
        endpointCommand(context),
        ipamCommand(context),
        serviceCommand(context),
        lbCommand(context),
        policyCommand(context),
        fqdnCommand(context),
        identityCommand(context),
        ipCommand(context),
        bpfCommand(context),
      ],
    ],
    [
      "In a Kubernetes cluster:",
      [
        installCommand(context),
        upgradeCommand(context),
        uninstallCommand(context),
        migrateCommand(context),
        configCommand(context),
        nodeCommand(context),
      ],
    ],
    ["A cluster to try it on:", [labCommand(context)]],
    ["This program:", [versionCommand(context), completionCommand(context, () => program)]],
  ];
  for (const [group, commands] of groups) {
    for (const command of commands) program.addCommand(command.helpGroup(group));
  }
  return program;
}
