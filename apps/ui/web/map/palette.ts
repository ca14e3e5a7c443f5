/** Names of the theme's colours (theme.css) that a drawing needs. */
const names = [
  "page",
  "panel",
  "text",
  "quiet",
  "line",
  "accent",
  "forwarded",
  "dropped",
  "audited",
] as const;

/** Colours as the theme has them now. */
export type Palette = Readonly<Record<(typeof names)[number], string>>;

/** The colours that hold where this element is: light or dark, or what the system forces. */
export function paletteOf(element: HTMLElement): Palette {
  const probe = element.ownerDocument.createElement("span");
  probe.hidden = true;
  element.append(probe);
  const resolved = names.map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color] as const;
  });
  probe.remove();
  return Object.fromEntries(resolved) as Palette;
}

/** Calls back whenever the theme becomes another one. Returns how to stop. */
export function onThemeChange(changed: () => void): () => void {
  const queries = ["(prefers-color-scheme: dark)", "(forced-colors: active)"].map((text) => matchMedia(text));
  for (const query of queries) query.addEventListener("change", changed);
  return () => {
    for (const query of queries) query.removeEventListener("change", changed);
  };
}
