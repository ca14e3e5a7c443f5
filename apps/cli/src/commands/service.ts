import { Command } from "commander";
import type { Context } from "../context.ts";
import { serviceGetCommand } from "./service-get.ts";
import { serviceListCommand } from "./service-list.ts";
import { serviceTraceCommand } from "./service-trace.ts";

/** `axon service list|get|trace`. */
export function serviceCommand(context: Context): Command {
  return new Command("service")
    .alias("svc")
    .description("Services as the datapath balances them")
    .addCommand(serviceListCommand(context))
    .addCommand(serviceGetCommand(context))
    .addCommand(serviceTraceCommand(context));
}
