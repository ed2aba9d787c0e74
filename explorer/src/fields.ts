// Lists and boxes to choose from.
import { h } from "./dom";

export interface Choice {
  element: HTMLElement;
  input: HTMLSelectElement;
}

export function select(name: string, entries: [string, string][]): Choice {
  const input = h("select", { "aria-label": name });
  const choice = { element: h("label", {}, h("span", {}, name), input), input };
  options(choice, entries, entries[0]?.[0] ?? "");
  return choice;
}

/** Fill a list; an empty one is hidden. */
export function options({ element, input }: Choice, entries: [string, string][], value: string): void {
  element.hidden = entries.length === 0;
  const key = JSON.stringify(entries);
  if (input.dataset["entries"] !== key) {
    input.dataset["entries"] = key;
    input.replaceChildren(...entries.map(([each, text]) => h("option", { value: each }, text)));
  }
  input.value = value;
}

export function check(name: string, change: (checked: boolean) => void): HTMLInputElement {
  const input = h("input", { type: "checkbox" });
  input.addEventListener("change", () => change(input.checked));
  h("label", {}, input, h("span", {}, name));
  return input;
}
