import { Argument, Command } from "commander";
import { completionScript, type Shell, shells } from "../completion.ts";
import type { Context } from "../context.ts";
import { examples } from "./help.ts";

/** `axon completion bash|zsh|fish`. */
export function completionCommand(context: Context, program: () => Command): Command {
  return new Command("completion")
    .description("print a completion script for a shell")
    .addArgument(new Argument("<shell>", "the shell").choices([...shells]))
    .addHelpText(
      "after",
      examples(
        ["source <(axon completion bash)", "in ~/.bashrc"],
        ["source <(axon completion zsh)", "in ~/.zshrc"],
        ["axon completion fish | source", "in config.fish"],
      ),
    )
    .action(async (shell: Shell) => {
      await context.stdout.write(completionScript(program(), shell));
    });
}
