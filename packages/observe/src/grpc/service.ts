import { type DescService, fromBinary } from "@bufbuild/protobuf";
import type { ServiceDefinition, UntypedHandleCall } from "@grpc/grpc-js";

/** What this server does with the methods of a service, by their names in the schema. */
export type Handlers = Readonly<Record<string, UntypedHandleCall>>;

/** Responses are protobuf already: handlers encode them, each in the cheapest way it has. */
const asIs = (bytes: Buffer): Buffer => bytes;

function notHere(): never {
  throw new Error("requests are read here, not written");
}

/** The form of a service that the gRPC library takes; requests come as messages, responses go as bytes. */
export function definitionOf(service: DescService): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method) => [
      method.name,
      {
        path: `/${service.typeName}/${method.name}`,
        requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
        responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
        requestSerialize: notHere,
        requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
        responseSerialize: asIs,
        responseDeserialize: asIs,
      },
    ]),
  );
}

/** The same memory as a Buffer, which the gRPC library asks for. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
