import { type PointerEvent, type RefObject, useEffect, useRef } from "react";
import type { Camera } from "./camera.ts";
import { overviewOf } from "./picture.ts";
import { centred, type Rect, seen } from "./view.ts";

interface Props {
  readonly camera: Camera;
  readonly world: Rect;
  /** Drawn by the painter. */
  readonly canvas: RefObject<HTMLCanvasElement | null>;
  readonly isShown: boolean;
}

const size = { width: 200, height: 130 } as const;

/** All of the map in a corner, with a frame around what is seen; a press goes there. */
export function Overview({ camera, world, canvas, isShown }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  useEffect(
    () =>
      camera.onFrame(() => {
        if (frame.current === null) return;
        const { rect, scale } = overviewOf(world, size);
        const part = seen(camera.view, camera.size);
        const { style } = frame.current;
        style.transform = `translate(${(part.x - rect.x) * scale}px, ${(part.y - rect.y) * scale}px)`;
        const [width, height] = [`${part.width * scale}px`, `${part.height * scale}px`];
        if (style.width !== width) style.width = width;
        if (style.height !== height) style.height = height;
      }),
    [camera, world],
  );
  const go = (event: PointerEvent<HTMLDivElement>): void => {
    event.stopPropagation();
    if (event.buttons !== 1) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    const { left, top } = event.currentTarget.getBoundingClientRect();
    const { rect, scale } = overviewOf(world, size);
    const point = {
      x: rect.x + (event.clientX - left) / scale,
      y: rect.y + (event.clientY - top) / scale,
    };
    camera.look(centred(camera.view, point, camera.size));
  };
  return (
    <div
      className="overview"
      role="img"
      aria-label="Overview"
      style={{ ...size, ...(isShown ? {} : { visibility: "hidden" }) }}
      onPointerDown={go}
      onPointerMove={go}
    >
      <canvas ref={canvas} style={size} />
      <div className="frame" ref={frame} />
    </div>
  );
}
