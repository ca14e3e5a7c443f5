import { type CallWatcher, grpcCode } from "@axoneme/grpc";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { Counter, Histogram, type Registry } from "prom-client";
import { pathOf } from "./service.ts";

/** `grpc_type` by what the schema says of a method. */
const types = {
  unary: "unary",
  client_streaming: "client_stream",
  server_streaming: "server_stream",
  bidi_streaming: "bidi_stream",
} as const satisfies Record<DescMethod["methodKind"], string>;

/** `grpc_code` by number. */
const codes: readonly string[] = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
];

const method = ["grpc_type", "grpc_service", "grpc_method"] as const;

/**
 * The field's grpc_server_* metrics for the methods of these services, all of which are there from the start. Calls of
 * what no service has are not counted: anybody could make series of them.
 */
export function callMetrics(registry: Registry, services: readonly DescService[]): CallWatcher {
  const counter = <T extends string>(name: string, help: string, labelNames: readonly T[]): Counter<T> =>
    new Counter({ name: `grpc_server_${name}`, help, labelNames, registers: [registry] });
  const started = counter("started_total", "Calls that began", method);
  const handled = counter("handled_total", "Calls that ended, by status", [...method, "grpc_code"] as const);
  const received = counter("msg_received_total", "Messages of requests", method);
  const sent = counter("msg_sent_total", "Messages of answers", method);
  const seconds = new Histogram({
    name: "grpc_server_handling_seconds",
    help: "How long calls took until they ended",
    labelNames: method,
    registers: [registry],
  });
  const methods = new Map(
    services.flatMap((service) => service.methods).map((of) => [pathOf(of), labelsOf(of)]),
  );
  for (const labels of methods.values()) {
    for (const metric of [started, received, sent]) metric.inc(labels, 0);
    handled.inc({ ...labels, grpc_code: "OK" }, 0);
  }
  return (path) => {
    const labels = methods.get(path);
    if (labels === undefined) return undefined;
    started.inc(labels);
    const end = seconds.startTimer(labels);
    return {
      received: (messages) => received.inc(labels, messages),
      sent: (messages) => sent.inc(labels, messages),
      ended: (status) => {
        handled.inc({ ...labels, grpc_code: codes[status] ?? codes[grpcCode.unknown] ?? "Unknown" });
        end();
      },
    };
  };
}

function labelsOf(of: DescMethod) {
  return { grpc_type: types[of.methodKind], grpc_service: of.parent.typeName, grpc_method: of.name };
}
