import { errorText, type Logger } from "@axoneme/base";
import { applyServiceChanges, type Kernel, readServiceRows } from "@axoneme/datapath";
import type { ListWatchHandlers } from "@axoneme/kube";
import type { EndpointSliceObject, LbChange, ServiceCompiler, ServiceObject } from "@axoneme/loadbalancer";

/** Services from the API to the kernel, one event at a time. */
export class ServiceModule {
  readonly compiler: ServiceCompiler;
  readonly #kernel: Kernel;
  readonly #log: Logger;
  /** The last write that failed, by Service; cleared by the next one that works. */
  readonly problems = new Map<string, string>();

  constructor(compiler: ServiceCompiler, kernel: Kernel, log: Logger) {
    this.compiler = compiler;
    this.#kernel = kernel;
    this.#log = log;
    compiler.restore(readServiceRows(kernel.maps));
  }

  /** For a ListWatch of Service. */
  services(): ListWatchHandlers<ServiceObject> {
    const upsert = (object: ServiceObject) =>
      this.#apply(nameOf(object), this.compiler.upsertService(object));
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: (object) => {
        const { namespace = "", name = "" } = object.metadata ?? {};
        this.#apply(nameOf(object), this.compiler.deleteService(namespace, name));
        this.problems.delete(nameOf(object));
      },
    };
  }

  /** For a ListWatch of EndpointSlice. */
  slices(): ListWatchHandlers<EndpointSliceObject> {
    const upsert = (object: EndpointSliceObject) =>
      this.#apply(nameOf(object), this.compiler.upsertSlice(object));
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: (object) => this.#apply(nameOf(object), this.compiler.deleteSlice(object)),
    };
  }

  /** Removes rows of Services that went while no agent ran. Call after both resources were listed. */
  prune(): void {
    this.#apply("(stale)", this.compiler.prune());
  }

  #apply(name: string, changes: readonly LbChange[]): void {
    if (changes.length === 0) return;
    try {
      applyServiceChanges(this.#kernel.maps, changes);
      this.problems.delete(name);
    } catch (error) {
      this.problems.set(name, errorText(error));
      this.#log.error({ err: error, service: name }, "the Service could not be programmed");
    }
    // A translated flow remembers its backend; connections whose backend went are decided again.
    this.#kernel.changed();
  }
}

function nameOf(object: { metadata?: { namespace?: string; name?: string } }): string {
  return `${object.metadata?.namespace ?? ""}/${object.metadata?.name ?? ""}`;
}
