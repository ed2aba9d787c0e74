// The skeleton of the explorer; mount() follows.
import type { Exhibit } from "./exhibit";

export interface Mounted {
  update(exhibit: Exhibit): void;
  destroy(): void;
}

export function mount(element: HTMLElement, exhibit: Exhibit): Mounted {
  element.textContent = exhibit.title;
  return { update: (next) => void (element.textContent = next.title), destroy: () => element.replaceChildren() };
}
