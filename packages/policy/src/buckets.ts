/** Files a value under a key. */
export function file<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const bucket = index.get(key);
  if (bucket === undefined) index.set(key, new Set([value]));
  else bucket.add(value);
}

/** Takes a value away from under a key. */
export function unfile<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const bucket = index.get(key);
  bucket?.delete(value);
  if (bucket?.size === 0) index.delete(key);
}
