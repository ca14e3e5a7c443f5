/** A field path of the downward API: `metadata.labels['app']` has the subscript `app`. */
export function splitFieldPath(path: string): { field: string; subscript?: string } {
  const match = /^([a-zA-Z.]+)\['([^']*)'\]$/.exec(path);
  if (match?.[1] === undefined || match[2] === undefined) return { field: path };
  return { field: match[1], subscript: match[2] };
}
