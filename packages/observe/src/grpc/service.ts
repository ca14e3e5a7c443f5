import { GrpcError, grpcCode, type Handler, type ServerCall } from "@axoneme/grpc";
import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageShape,
} from "@bufbuild/protobuf";
import { statusOf } from "./status.ts";

/** What a server does with the methods of a service, by their names in the schema. */
export type Handlers = Readonly<Record<string, Handler>>;

/** Handlers by the paths under which clients call them. A method without one is answered UNIMPLEMENTED. */
export function methodsOf(...services: readonly (readonly [DescService, Handlers])[]): Map<string, Handler> {
  const methods = new Map<string, Handler>();
  for (const [service, handlers] of services) {
    for (const method of service.methods) {
      const handler = handlers[method.name];
      if (handler !== undefined) methods.set(pathOf(method), handler);
    }
  }
  return methods;
}

/** `/package.Service/Method`. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** The request of a call, read. */
export async function readRequest<T extends DescMessage>(
  schema: T,
  call: ServerCall,
): Promise<MessageShape<T>> {
  return parse(schema, await call.request());
}

/** @throws GrpcError invalidArgument when the bytes are not such a message */
export function parse<T extends DescMessage>(schema: T, bytes: Uint8Array): MessageShape<T> {
  try {
    return fromBinary(schema, bytes);
  } catch (cause) {
    throw new GrpcError(grpcCode.invalidArgument, `the request is no ${schema.typeName}`, { cause });
  }
}

/** A handler whose errors become what the caller is told. */
export function answering(handler: (call: ServerCall) => Promise<void>): Handler {
  return async (call) => {
    try {
      await handler(call);
    } catch (error) {
      throw statusOf(error);
    }
  };
}

/** What clients that want packets recorded are told; the field had that until 1.18. */
export const recorderMethods: readonly (readonly [string, Handler])[] = [
  ["/recorder.Recorder/Record", refusing("recording packets is not supported: flows have no packets' bytes")],
];

/** A handler that says why a method is not served here. */
export function refusing(why: string): Handler {
  return () => {
    throw new GrpcError(grpcCode.unimplemented, why);
  };
}
