/**
 * The X.509 library finds its algorithms through decorators that keep metadata on `Reflect`, and refuses to load
 * without that. These are the calls it makes. Imported before it.
 */
const store = new WeakMap<object, Map<unknown, unknown>>();

function own(key: unknown, target: object): unknown {
  return store.get(target)?.get(key);
}

function inherited(key: unknown, target: object): unknown {
  for (let each: object | null = target; each !== null; each = Object.getPrototypeOf(each)) {
    if (store.get(each)?.has(key) === true) return own(key, each);
  }
  return undefined;
}

function define(key: unknown, value: unknown, target: object): void {
  const map = store.get(target) ?? new Map();
  map.set(key, value);
  store.set(target, map);
}

if (!("getMetadata" in Reflect)) {
  Object.assign(Reflect, {
    defineMetadata: define,
    getMetadata: inherited,
    getOwnMetadata: (key: unknown, target: object) => own(key, target),
    hasMetadata: (key: unknown, target: object) => inherited(key, target) !== undefined,
    hasOwnMetadata: (key: unknown, target: object) => own(key, target) !== undefined,
    metadata: (key: unknown, value: unknown) => (target: object) => define(key, value, target),
  });
}
