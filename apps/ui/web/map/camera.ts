import type { Size, View } from "./view.ts";

/**
 * Holds the view beside React: sixty times a second nothing but a transform changes. Listeners hear of it once a
 * frame, however often it moves.
 */
export class Camera {
  #view: View = { x: 0, y: 0, scale: 1 };
  #size: Size = { width: 1, height: 1 };
  #isAsked = false;
  readonly #listeners = new Set<() => void>();

  get view(): View {
    return this.#view;
  }

  get size(): Size {
    return this.#size;
  }

  look(view: View): void {
    this.#view = view;
    this.#tell();
  }

  resize(size: Size): void {
    this.#size = size;
    this.#tell();
  }

  /** Called before a frame is drawn, after the view has changed. Returns how to stop. */
  onFrame(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#tell();
    return () => this.#listeners.delete(listener);
  }

  #tell(): void {
    if (this.#isAsked) return;
    this.#isAsked = true;
    requestAnimationFrame(() => {
      this.#isAsked = false;
      for (const listener of this.#listeners) listener();
    });
  }
}
