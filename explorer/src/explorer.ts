// The module's front door: mount() for pages, a default export for anywidget, and reports mount themselves.
import { ofPage, type Address } from "./address";
import { App } from "./app";
import { background, ink } from "./colours";
import { h } from "./dom";
import { checked, type Exhibit } from "./exhibit";
import type { Theme } from "./model";
import type { State } from "./state";

export { background, ink };

export interface Mounted {
  update(exhibit: Exhibit): void;
  destroy(): void;
}

export interface Options {
  /** What the reader then may change; left out, as the system says. */
  readonly theme?: State["theme"];
  /** Called with the theme that is shown, at first and after each change. */
  readonly onTheme?: (theme: Theme) => void;
  /** Where choices are kept so that a link shows the same; left out, nowhere. */
  readonly address?: Address;
}

/** Show an exhibit inside an element. What cannot be shown is said there, not thrown. */
export function mount(element: HTMLElement, exhibit: unknown, options: Options = {}): Mounted {
  // Jupyter reads the attribute: arrow keys are the explorer's while it has the focus.
  const host = h("div", { class: "contextmix-explorer", "data-lm-suppress-shortcuts": "true" });
  const root = host.attachShadow({ mode: "open" });
  let app: App | null = null;
  let habits: Partial<State> = { theme: options.theme ?? "auto" };
  element.append(host);
  const update = (document: unknown): void => {
    if (app) habits = app.habits;
    app?.destroy();
    app = null;
    try {
      app = new App(root, checked(document), habits, options.onTheme ?? (() => undefined), options.address ?? null);
    } catch (error) {
      root.replaceChildren(h("p", { role: "alert" }, `The explorer cannot show this: ${(error as Error).message}`));
    }
  };
  const follow = (): void => app?.follow();
  update(exhibit);
  if (options.address) window.addEventListener("hashchange", follow);
  return {
    update,
    destroy: () => {
      window.removeEventListener("hashchange", follow);
      app?.destroy();
      host.remove();
    },
  };
}

interface WidgetModel {
  get(name: string): unknown;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

/** What anywidget calls for each output cell; what it returns cleans up. */
function render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
  const mounted = mount(el, model.get("exhibit"));
  const changed = (): void => mounted.update(model.get("exhibit") as Exhibit);
  model.on("change:exhibit", changed);
  return () => {
    model.off("change:exhibit", changed);
    mounted.destroy();
  };
}

export default { render };

/** A report is its data and this module: each block of data becomes an explorer right after it. */
function mountAll(): void {
  const found = document.querySelectorAll<HTMLElement>('script[type="application/json"][data-contextmix]');
  for (const [section, data] of found.entries()) {
    if (data.dataset["contextmix"] === "mounted") continue;
    data.dataset["contextmix"] = "mounted";
    const place = h("div");
    data.after(place);
    let exhibit: unknown = null;
    try {
      exhibit = JSON.parse(data.textContent ?? "");
    } catch {
      // mount() says that this is no exhibit.
    }
    // The page around takes the theme on.
    const onTheme = (theme: Theme): void => void (document.documentElement.style.colorScheme = theme);
    mount(place, exhibit, { address: ofPage(section), onTheme });
  }
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mountAll);
else mountAll();
