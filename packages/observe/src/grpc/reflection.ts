import { grpcCode } from "@axoneme/grpc";
import {
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "@axoneme/proto";
import { create, type DescFile, type DescService, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type Handlers, parse } from "./service.ts";

type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>["messageResponse"]>;

/** The gRPC reflection service, of any of its versions: they differ in the package's name only. */
export class ReflectionService {
  readonly #services: readonly DescService[];
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();

  constructor(services: readonly DescService[]) {
    this.#services = services;
    for (const { file } of services) this.#add(file);
  }

  handlers(): Handlers {
    return {
      ServerReflectionInfo: async (call) => {
        // Answers are few and small: what a client can make us hold is bounded by what it sends and we read.
        for await (const bytes of call.requests()) {
          const answer = this.#answer(parse(ServerReflectionRequestSchema, bytes));
          await call.write(toBinary(ServerReflectionResponseSchema, answer));
        }
      },
    };
  }

  #add(file: DescFile): void {
    const name = file.proto.name;
    if (this.#files.has(name)) return;
    this.#files.set(name, file);
    for (const type of file.enums) this.#symbols.set(type.typeName, file);
    for (const service of file.services) {
      this.#symbols.set(service.typeName, file);
      for (const method of service.methods) this.#symbols.set(`${service.typeName}.${method.name}`, file);
    }
    const messages = [...file.messages];
    for (let message = messages.pop(); message !== undefined; message = messages.pop()) {
      this.#symbols.set(message.typeName, file);
      for (const field of message.fields) this.#symbols.set(`${message.typeName}.${field.name}`, file);
      for (const type of message.nestedEnums) this.#symbols.set(type.typeName, file);
      messages.push(...message.nestedMessages);
    }
    for (const dependency of file.dependencies) this.#add(dependency);
  }

  #answer(request: ServerReflectionRequest): ServerReflectionResponse {
    return create(ServerReflectionResponseSchema, {
      validHost: request.host,
      originalRequest: request,
      messageResponse: this.#look(request.messageRequest),
    });
  }

  #look(asked: ServerReflectionRequest["messageRequest"]): Answer {
    switch (asked.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: this.#services.map(({ typeName }) => ({ name: typeName })) },
        };
      case "fileByFilename":
        return fileAnswer(this.#files.get(asked.value), asked.value);
      case "fileContainingSymbol":
        return fileAnswer(this.#symbols.get(asked.value), asked.value);
      case "fileContainingExtension":
      case "allExtensionNumbersOfType":
        return failure(grpcCode.notFound, "there are no extensions here");
      default:
        return failure(grpcCode.invalidArgument, "the request asks for nothing");
    }
  }
}

function failure(errorCode: number, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}

/** The file and all it imports, each once: clients need not ask again. */
function fileAnswer(file: DescFile | undefined, name: string): Answer {
  if (file === undefined) return failure(grpcCode.notFound, `nothing is called "${name}" here`);
  const all = new Set([file]);
  for (const each of all) for (const dependency of each.dependencies) all.add(dependency);
  const fileDescriptorProto = [...all].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}
