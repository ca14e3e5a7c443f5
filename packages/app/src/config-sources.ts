import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";
import { AxonError } from "@axoneme/base";
import { type Layer, readOptionFile, resolveLayers, type Settings, unknownOption } from "./config.ts";
import type { OptionSet } from "./option.ts";
import { namesByKey } from "./option-keys.ts";
import { valueFromText } from "./option-text.ts";

/** Where a program's configuration is besides the API. */
export interface ConfigPlaces {
  /** YAML or JSON, by names of options. */
  readonly file?: string | undefined;
  /** A mounted ConfigMap: one file a key. */
  readonly directory?: string | undefined;
  /** What the command line says, over everything else; by key, as text. */
  readonly flags?: Readonly<Record<string, string>> | undefined;
}

/** Changes that come in one stroke (a ConfigMap's files) are read once. */
const settleMs = 100;

/** Texts by key as a layer; keys that are no option are problems of it. */
export function textLayer(
  options: OptionSet,
  origin: string,
  texts: Readonly<Record<string, string>>,
): Layer {
  const names = namesByKey(options);
  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [key, text] of Object.entries(texts)) {
    const name = names.get(key);
    const option = name === undefined ? undefined : options[name];
    if (name === undefined || option === undefined) problems.push(unknownOption(key, names.keys()));
    else values[name] = valueFromText(option, text);
  }
  return { origin, values, problems };
}

/** Reads a program's configuration from its places, as often as wanted. */
export class ConfigSources<S extends OptionSet> {
  readonly #options: S;
  readonly #places: ConfigPlaces;

  constructor(options: S, places: ConfigPlaces) {
    this.#options = options;
    this.#places = places;
  }

  /** Whether a mounted ConfigMap is among the places. */
  get hasDirectory(): boolean {
    return this.#places.directory !== undefined;
  }

  /**
   * The settings as the places have them now: the file, over it the directory (or `map`, where a newer state of it is
   * known), over it `more` (as CiliumNodeConfigs), over all the flags.
   * @throws AxonError `config.unreadable`, or `config.invalid` with every problem and where it stands
   */
  read(more: readonly Layer[] = [], map?: Layer): Settings<S> {
    const { file, directory, flags = {} } = this.#places;
    const layers = [
      ...(file === undefined ? [] : [{ origin: file, values: readOptionFile(file) }]),
      ...(map === undefined ? this.#directory(directory) : [map]),
      ...more,
      textLayer(this.#options, "command line", flags),
    ];
    return resolveLayers(this.#options, layers);
  }

  /** Calls when file or directory may have changed, until the returned function is called. */
  follow(changed: () => void): () => void {
    const { file, directory } = this.#places;
    let timer: NodeJS.Timeout | undefined;
    const soon = (): void => {
      timer ??= setTimeout(() => {
        timer = undefined;
        changed();
      }, settleMs);
    };
    const watchers: FSWatcher[] = [];
    if (directory !== undefined) watchers.push(watch(directory, { persistent: false }, soon));
    if (file !== undefined) {
      const own = basename(file);
      watchers.push(
        watch(dirname(file), { persistent: false }, (_event, name) => void (name === own && soon())),
      );
    }
    return () => {
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
    };
  }

  #directory(path: string | undefined): Layer[] {
    return path === undefined ? [] : [textLayer(this.#options, path, readDirectory(path))];
  }
}

/** A ConfigMap's volume: keys are files; what begins with ".." is the kubelet's own. */
function readDirectory(path: string): Record<string, string> {
  const texts: Record<string, string> = {};
  try {
    for (const key of readdirSync(path)) {
      const file = join(path, key);
      if (!key.startsWith("..") && statSync(file).isFile()) texts[key] = readFileSync(file, "utf8");
    }
  } catch (cause) {
    throw new AxonError(
      "config.unreadable",
      `cannot read the directory of configuration ${path}: ${String(cause)}`,
      { cause },
    );
  }
  return texts;
}
