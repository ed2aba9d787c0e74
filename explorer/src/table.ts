// The same answer as a table: for reading aloud, copying, and whoever wants numbers.
import { h, set } from "./dom";
import { has, type Model } from "./model";
import { question, short, subject, unitOf } from "./sentences";

export class NumberTable {
  readonly element = h("details", { class: "numbers" }, h("summary", {}, "Numbers as a table"));
  private readonly box = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Numbers as a table" });
  private model: Model | null = null;

  constructor() {
    this.element.append(this.box);
    this.element.addEventListener("toggle", () => this.fill());
  }

  update(model: Model): void {
    this.model = model;
    this.fill();
  }

  private fill(): void {
    if (!this.element.open || !this.model) return;
    const { model } = this;
    const panels = model.panels.filter(({ entry, line }) => line && (has(entry, "query") || model.coloured === model.keys));
    const caption = h("caption", {}, question(model));
    const head = h("tr", {}, h("th", { scope: "col" }, "token"));
    for (const { entry } of panels) {
      const own = subject(entry, model);
      head.append(h("th", { scope: "col" }, (entry.label || entry.name) + (model.state.raw ? unitOf(entry) && ` (${unitOf(entry).trim()})` : ""), own === question(model) ? null : `: ${own}`));
    }
    const body = h("tbody");
    model.coloured.forEach(({ name }, place) => {
      const row = h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, name)));
      for (const panel of panels) row.append(h("td", {}, short(panel.line!, 0, place, panel, model)));
      set(row, "data-active", model.pointed === place);
      body.append(row);
    });
    this.box.replaceChildren(h("table", {}, caption, h("thead", {}, head), body));
  }
}
