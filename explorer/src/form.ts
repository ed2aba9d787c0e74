// What is asked for: the fields of the page, and refusals beside the field that they are about.
import type { Asked, Method, Model } from "./client";
import { h, say, set } from "./dom";

const EXAMPLES: Record<"classes" | "words", readonly string[]> = {
  classes: ["a deep and meaningful film .", "the plot is thin , but the acting is superb .", "never dull , never long"],
  words: [
    "Once upon a time, there was a little girl named",
    "Tom saw a big red ball. He wanted to play with the",
    "The sun was hot, so Lily drank some cold",
  ],
};

export function byId<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}.`);
  return found as T;
}

/** Say what is wrong, beside the field if it is one of the page's, and go there. */
export function refuse(prefix: string, reason: string, field: string | null): void {
  clear(prefix);
  const place = document.getElementById(`${prefix}${field ?? ""}-error`) ?? byId(`${prefix}error`);
  say(place, reason);
  const input = field === null ? null : document.getElementById(`${prefix}${field}`);
  input?.closest("details")?.setAttribute("open", "");
  if (input === null) return;
  set(input, "aria-invalid", "true");
  input.focus();
}

export function clear(prefix: string): void {
  const form = byId(`${prefix}form`);
  for (const place of form.querySelectorAll<HTMLElement>(".error")) say(place, "");
  for (const input of form.querySelectorAll("[aria-invalid]")) set(input, "aria-invalid", null);
}

export class Form {
  private readonly text = byId<HTMLTextAreaElement>("text");
  private readonly pair = byId<HTMLTextAreaElement>("pair");
  private readonly model = byId<HTMLSelectElement>("model");
  private readonly heads = byId<HTMLInputElement>("heads");
  private readonly boxes: HTMLInputElement[] = [];
  private usual: readonly string[] = [];
  private readonly titles: ReadonlyMap<string, string>;
  private chose = false;

  constructor(
    private readonly models: readonly Model[],
    methods: readonly Method[],
  ) {
    this.titles = new Map(methods.map(({ name, title }) => [name, title]));
    this.model.replaceChildren(...models.map((model) => h("option", { value: model.name }, model.name)));
    this.model.addEventListener("change", () => this.suit());
    const toggle = byId<HTMLInputElement>("two");
    toggle.addEventListener("change", () => {
      byId("pair-field").hidden = !toggle.checked;
      if (toggle.checked) this.pair.focus();
    });
    this.list(methods);
    this.suit();
    this.summarise();
  }

  /** The request, as the fields say it. */
  read(): Asked {
    const filled = (id: string): string | null => byId<HTMLInputElement>(id).value.trim() || null;
    const query = filled("query");
    return {
      model: this.model.value,
      text: this.text.value,
      pair: byId<HTMLInputElement>("two").checked ? this.pair.value : null,
      methods: this.chosen(),
      query: query !== null && /^-?\d{1,9}$/.test(query) ? Number(query) : query,
      target: filled("target"),
      against: filled("against"),
      heads: this.heads.checked,
      each_class: true,
    };
  }

  /** Fill the fields as a link says. */
  write(asked: Asked): void {
    const fill = (id: string, value: string | number | null): void => void (byId<HTMLInputElement>(id).value = String(value ?? ""));
    if (this.models.some(({ name }) => name === asked.model)) this.model.value = asked.model;
    this.chose = asked.methods.length > 0;
    for (const box of this.boxes) if (this.chose) box.checked = asked.methods.includes(box.value);
    this.suit();
    for (const name of ["text", "pair", "query", "target", "against"] as const) fill(name, asked[name]);
    const two = byId<HTMLInputElement>("two");
    two.checked = asked.pair !== null;
    byId("pair-field").hidden = !two.checked;
    this.heads.checked = asked.heads;
  }

  /** Methods by the question that they answer; what they are made of and cost is a tooltip. */
  private list(methods: readonly Method[]): void {
    const questions = [...new Set(methods.map(({ question }) => question))];
    byId("by-question").replaceChildren(
      ...questions.map((question) => {
        const own = methods.filter((method) => method.question === question);
        return h("fieldset", {}, h("legend", {}, question), h("div", { class: "methods" }, ...this.items(own)));
      }),
    );
  }

  private items(methods: readonly Method[]): HTMLElement[] {
    return methods.map((method) => {
      const box = h("input", { type: "checkbox", value: method.name, name: "method" });
      box.addEventListener("change", () => {
        this.chose = true;
        this.summarise();
      });
      this.boxes.push(box);
      const needs = method.requirements === "none" ? "" : ` \u00b7 requirements: ${method.requirements}`;
      return h(
        "label",
        { class: "method", title: `${method.formula}\n${method.cost}${needs}` },
        box,
        h("span", { class: "name" }, method.title, " ", h("code", {}, method.name), method.slow ? h("span", { class: "slow" }, "slow") : null),
        h("span", { class: "cost" }, method.paper),
      );
    });
  }

  /** The usual ones first: the first one is shown first. */
  private chosen(): string[] {
    const names = this.boxes.filter((box) => box.checked).map((box) => box.value);
    const first = this.usual.filter((name) => names.includes(name));
    return [...first, ...names.filter((name) => !this.usual.includes(name))];
  }

  private summarise(): void {
    const titles = this.chosen().map((name) => this.titles.get(name) ?? name);
    say(byId("chosen"), titles.join(", ") || "none");
  }

  /** Usual methods, examples, classes and limits of the chosen model. */
  private suit(): void {
    const model = this.models.find((one) => one.name === this.model.value);
    if (!model) return;
    this.usual = model.usual;
    if (!this.chose) for (const box of this.boxes) box.checked = model.usual.includes(box.value);
    this.summarise();
    const examples = EXAMPLES[model.labels.length > 0 ? "classes" : "words"].map((text) => {
      const button = h("button", { type: "button" }, text);
      button.addEventListener("click", () => {
        this.text.value = text;
        this.text.focus();
      });
      return button;
    });
    byId("examples").replaceChildren(...examples);
    byId("classes").replaceChildren(...model.labels.map((label) => h("option", { value: label })));
    say(byId("limit"), `${model.name} accepts up to ${model.limit} tokens.`);
  }
}
